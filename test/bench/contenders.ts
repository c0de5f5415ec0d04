import { dirname } from 'node:path'

import { everyContainerd } from '#testing/containerd.ts'
import { type DaemonOptions, run, startDaemon } from '#testing/daemon.ts'

import type { BigImage, Contender, RegistryImages, Subject } from './row.ts'

/** What all daemons of a bench share. */
export interface Shared {
  /** The archive of the small image, and the image's name. */
  readonly smallImage: { readonly file: string; readonly name: string }
  readonly bigImage?: BigImage
  readonly hugeImage?: BigImage
  readonly registry?: RegistryImages
  /** The `wharfd.mjs` that is measured. */
  readonly program: string
  /** The `ctr` that drives every daemon. */
  readonly ctr: string
  /** The newest one there is. */
  readonly newestCtr: string
  readonly quick: boolean
  readonly crun: boolean
}

export const ours: Contender = { label: 'wharfd' }

/** wharfd and every containerd of this machine, oldest first. */
export const contenders = (): readonly Contender[] => [
  ours,
  ...everyContainerd().map((containerd) => ({ label: containerd.version, containerd })),
]

/** A daemon that has just started on directories of its own, with the small image. */
export async function startSubject(
  contender: Contender,
  row: string,
  shared: Shared,
  options: DaemonOptions = {},
): Promise<Subject & AsyncDisposable> {
  await using scope = new AsyncDisposableStack()
  const { containerd } = contender
  const path = `${containerd ? `${dirname(containerd.shim)}:` : ''}${process.env['PATH'] ?? ''}`
  const daemon = scope.use(
    await startDaemon({
      ...options,
      env: { PATH: path },
      ...(containerd ? { containerd } : { program: shared.program }),
    }),
  )
  const namespace = `bench-${row}-${contender.label.replaceAll('.', '-')}`
  const ctrBy =
    (program: string) =>
    async (...args: readonly string[]): Promise<string> =>
      await ctrOf(program, ['-a', daemon.address, '-n', namespace, ...args])
  const ctr = ctrBy(shared.ctr)
  await ctr('image', 'import', shared.smallImage.file)
  const image = shared.smallImage.name
  const { program, quick, crun, bigImage, hugeImage, registry } = shared
  const owned = scope.move()
  return {
    contender,
    daemon,
    program,
    namespace,
    image,
    quick,
    crun,
    ctr,
    another: async (more) => await startSubject(contender, row, shared, more),
    ownCtr: ctrBy(containerd?.ctr ?? shared.newestCtr),
    ...(bigImage && { bigImage }),
    ...(hugeImage && { hugeImage }),
    ...(registry && { registry }),
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  }
}

const ctrMs = 300_000

async function ctrOf(ctr: string, args: readonly string[]): Promise<string> {
  const ran = await run(ctr, args, { timeoutMs: ctrMs })
  if (ran.code === 0) return ran.stdout
  throw new Error(`ctr ${args.join(' ')} ended with ${ran.code}:\n${ran.stdout}${ran.stderr}`)
}
