import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import type { Context } from '#core/context.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { mountAll, unmountAll } from '#sys/mount.ts'
import { newContext } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { root } from '#testing/root.ts'

import { OverlaySnapshotter } from './overlay.ts'

const options = { asyncRemove: false, upperdirLabel: false, mountOptions: [] }
const busyProgram = fileURLToPath(new URL('busy.fixture.ts', import.meta.url))

/** Runs the busy program, kills it after `count` lines, and gives what it said last of each key. */
async function runAndKill(
  dir: string,
  prefix: string,
  count: number,
): Promise<Map<string, string>> {
  const child = spawn(process.execPath, [busyProgram, dir, prefix], {
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

async function prepareUntilFull(ctx: Context, sn: Snapshotter): Promise<void> {
  for (let at = 0; at < 10_000; at++) await sn.prepare(ctx, `more-${at}`, '')
}

/** Writes to a new file until there is no room. */
function fill(path: string): void {
  using file = { fd: fs.openSync(path, 'w'), [Symbol.dispose]: () => fs.closeSync(file.fd) }
  const page = Buffer.alloc(4096)
  assert.throws(() => {
    for (;;) fs.writeSync(file.fd, page)
  }, /ENOSPC/)
}

suite('overlay snapshotter in trouble', () => {
  test('after a kill each snapshot has its record and its directory', async (t) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'overlay-killed-'))
    const ctx = newContext(t)
    const made = new Set<string>()
    for (let round = 0; round < 6; round++) {
      const said = await runAndKill(dir.path, String(round), 15 + 7 * round)
      for (const [key, what] of said) if (what === 'made') made.add(key)
      await using sn = await OverlaySnapshotter.open(ctx, dir.path, options)
      await sn.cleanup(ctx)
      const found = await Array.fromAsync(sn.list(ctx))
      for (const key of made)
        assert.ok(
          found.some(({ name }) => name === key),
          key,
        )
      assert.equal(fs.readdirSync(join(dir.path, 'snapshots')).length, found.length)
      for (const { name, kind } of found) {
        if (kind === 'committed') await sn.view(ctx, `look-${round}-${name}`, name)
        else await sn.usage(ctx, name)
      }
      for (const { name } of await Array.fromAsync(sn.list(ctx, ['kind==view']))) {
        for (const { options: given, source } of await sn.mounts(ctx, name)) {
          const lower = given.find((option) => option.startsWith('lowerdir='))?.slice(9) ?? source
          for (const path of lower.split(':')) assert.ok(fs.existsSync(path), path)
        }
        await sn.remove(ctx, name)
      }
    }
  })

  test('a full disk is told, and nothing is lost by it', async (t) => {
    if (!root(t)) return
    await using dir = await mkdtempDisposable(join(tmpdir(), 'overlay-full-'))
    using undo = new DisposableStack()
    undo.defer(() => unmountAll(dir.path))
    mountAll([{ type: 'tmpfs', source: 'tmpfs', options: ['size=4m'] }], dir.path)
    const ctx = newContext(t)
    await using sn = await OverlaySnapshotter.open(ctx, dir.path, options)
    await sn.prepare(ctx, 'a', '')
    fill(join(dir.path, 'snapshots/1/fs/big'))
    await rejectsWith('resource_exhausted', prepareUntilFull(ctx, sn), /no space left on device/)
    assert.equal((await sn.stat(ctx, 'a')).kind, 'active')
    fs.rmSync(join(dir.path, 'snapshots/1/fs/big'))
    await sn.remove(ctx, 'a')
    await sn.prepare(ctx, 'a', '')
  })
})
