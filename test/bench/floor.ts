import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { run } from '#testing/daemon.ts'

import { idleContainers } from './containers.ts'
import type { Subject } from './row.ts'

/*
 * What no daemon can be faster than: a client that starts and asks for a version, and the OCI runtime doing by
 * itself what it is called for. Each is timed; what a daemon adds to their sum is its own.
 */

/** A container to run again, and to execute in, without a daemon. */
export interface Floor extends AsyncDisposable {
  /** Makes, starts and removes a container. @returns ms with what a client takes. */
  readonly run: () => Promise<number>
  /** One more process in a container. @returns ms with what a client takes. */
  readonly exec: () => Promise<number>
}

/** The parts of a spec that are changed. */
interface Spec {
  process: { args: string[] }
  root: { path: string }
  linux: { cgroupsPath?: string }
}

/** Takes the spec of a container of wharfd's. */
export async function openFloor(subject: Subject): Promise<Floor> {
  const { ctr, daemon, namespace } = subject
  await using scope = new AsyncDisposableStack()
  const idle = scope.use(idleContainers(subject))
  await idle.start()
  const dir = await mkdtemp(join(daemon.dir, 'floor-'))
  scope.defer(async () => await rm(dir, { recursive: true }))
  const bundle = join(daemon.state, 'io.containerd.runtime.v2.task', namespace, 'idle-0')
  const spec: Spec = JSON.parse(await readFile(join(bundle, 'config.json'), 'utf8'))
  spec.process.args = ['true']
  spec.root.path = join(bundle, 'rootfs')
  spec.linux.cgroupsPath = '/bench-floor'
  await writeFile(join(dir, 'config.json'), JSON.stringify(spec))
  const client = async (): Promise<unknown> => await ctr('version')
  const runs = [join(dir, 'state'), 'run', '--bundle', dir, 'floor'] as const
  const execs = [join(daemon.state, 'runc', namespace), 'exec', 'idle-0', 'true'] as const
  const owned = scope.move()
  return {
    run: async () => await timed(client, async () => await runc(...runs)),
    exec: async () => await timed(client, async () => await runc(...execs)),
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  }
}

/** @returns what `once` gives each time. */
export async function repeat(count: number, once: () => Promise<number>): Promise<number[]> {
  const taken: number[] = []
  for (let n = 0; n < count; n++) taken.push(await once())
  return taken
}

async function runc(root: string, ...args: readonly string[]): Promise<void> {
  const { code, stderr } = await run('runc', ['--root', root, ...args])
  if (code !== 0) throw new Error(`runc ${args[0]}: ${stderr}`)
}

/** @returns how many ms they take, one after the other. */
async function timed(...steps: readonly (() => Promise<unknown>)[]): Promise<number> {
  const start = performance.now()
  for (const step of steps) await step()
  return performance.now() - start
}
