import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { suite, type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { newContext } from '#testing/context.ts'
import { ext4File } from '#testing/ext4-file.ts'
import { mounted, read } from '#testing/layers.ts'
import { loopFileSystem } from '#testing/loop-file-system.ts'
import { root as asRoot } from '#testing/root.ts'

import { openKind } from './busy-snapshots.ts'

const program = fileURLToPath(new URL('busy-snapshots.ts', import.meta.url))

/** Runs the busy program, kills it after `count` lines, and gives what it said last of each key. */
async function runAndKill(args: readonly string[], count: number): Promise<Map<string, string>> {
  const child = spawn(process.execPath, [program, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const said = new Map<string, string>()
  let lines = 0
  for await (const line of createInterface(child.stdout)) {
    const [key = '', what = ''] = line.split(' ')
    said.set(key, what)
    if (++lines === count) child.kill('SIGKILL')
  }
  return said
}

interface Kind {
  readonly kind: string
  readonly root: string
  readonly scratchFile: string
  /** Where snapshots are, below the root. */
  readonly folders: readonly string[]
}

async function killed(t: TestContext, given: Kind): Promise<void> {
  const ctx = newContext(t)
  const made = new Set<string>()
  for (let round = 0; round < 5; round++) {
    const args = [given.kind, given.root, given.scratchFile, String(round)]
    for (const [key, what] of await runAndKill(args, 10 + 7 * round)) {
      if (what === 'made') made.add(key)
    }
    await using sn = await openKind(ctx, given)
    await sn.cleanup(ctx)
    const found = await Array.fromAsync(sn.list(ctx))
    const names = new Set(found.map(({ name }) => name))
    for (const key of made) assert.ok(names.has(key), key)
    const files = given.folders.flatMap((folder) => readdirSync(join(given.root, folder)))
    assert.equal(files.length, found.length)
    const last = found.findLast(({ kind }) => kind === 'committed')
    if (!last) continue
    await mounted(await sn.view(ctx, `look-${round}`, last.name), (dir) =>
      assert.deepEqual(read(dir), {}),
    )
    await sn.remove(ctx, `look-${round}`)
  }
}

suite('snapshotters that are killed', () => {
  test('native has of each record its directory, and no other', async (t) => {
    if (!asRoot(t)) return
    await using dir = await mkdtempDisposable(join(tmpdir(), 'killed-'))
    const folders = ['snapshots']
    await killed(t, { kind: 'native', root: dir.path, scratchFile: '', folders })
  })

  test('blockfile has of each record its file, and no other', async (t) => {
    if (!asRoot(t)) return
    await using dir = await mkdtempDisposable(join(tmpdir(), 'killed-'))
    using ext4 = ext4File()
    const given = { kind: 'blockfile', root: dir.path, scratchFile: ext4.path }
    await killed(t, { ...given, folders: ['snapshots'] })
  })

  test('btrfs has of each record its subvolume, and no other', async (t) => {
    const btrfs = loopFileSystem({ type: 'btrfs', size: 512, args: ['-q'] })
    if (typeof btrfs === 'string') return t.skip(btrfs)
    using place = btrfs
    const given = { kind: 'btrfs', root: join(place.path, 'root'), scratchFile: '' }
    await killed(t, { ...given, folders: ['active', 'view', 'snapshots'] })
  })
})
