import type { Context, Logger } from '#core/context.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { openBlockfile } from '#plugins/snapshots/blockfile/blockfile.ts'
import { openBtrfs } from '#plugins/snapshots/btrfs/btrfs.ts'
import { openNative } from '#plugins/snapshots/native/native.ts'

/*
 * The program that a test kills: it makes, commits and removes snapshots until then. It says
 * `<key> made` when one is there, and `<key> going` before it goes.
 */

/** Opens the snapshotter `kind` in `root`; `scratchFile` is for those who begin with a file system. */
export async function openKind(
  ctx: Context,
  { kind, root, scratchFile }: { kind: string; root: string; scratchFile: string },
): Promise<Snapshotter> {
  if (kind === 'native') return await openNative(ctx, root)
  if (kind === 'btrfs') return await openBtrfs(ctx, root)
  const options = { scratchFile, recreateScratch: false, fsType: 'ext4', mountOptions: [] }
  return await openBlockfile(ctx, root, options)
}

const say = (key: string, what: 'made' | 'going'): void => {
  process.stdout.write(`${key} ${what}\n`)
}

async function work(ctx: Context, sn: Snapshotter, prefix: string): Promise<never> {
  let parent = ''
  for (let at = 0; ; at++) {
    const key = `${prefix}-${at}`
    await sn.prepare(ctx, key, parent)
    say(key, 'made')
    if (at % 3 === 0) continue
    say(key, 'going')
    if (at % 3 === 1) await sn.remove(ctx, key)
    else {
      await sn.commit(ctx, `${key}-layer`, key)
      say(`${key}-layer`, 'made')
      parent = `${key}-layer`
    }
  }
}

if (import.meta.main) {
  const [, , kind = '', root = '', scratchFile = '', prefix = ''] = process.argv
  const log: Logger = { debug() {}, info() {}, warn() {}, error() {}, with: () => log }
  const ctx = { signal: new AbortController().signal, log }
  const sn = await openKind(ctx, { kind, root, scratchFile })
  await Promise.all([0, 1, 2].map((worker) => work(ctx, sn, `${prefix}-${worker}`)))
}
