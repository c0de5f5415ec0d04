import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'

import { parseTar } from '#lib/tar/parser.ts'
import { isErrno } from '#sys/errno.ts'
import { inPlace } from '#testing/extract-place.ts'
import { dir, entryBytes, file, hard, link, type Part } from '#testing/layer-archive.ts'
import { swapper } from '#testing/swapper.ts'

import { Extractor, type ExtractTarget } from './extractor.ts'

/** Every kind of entry, in and on what is swapped. */
function* parts(): Generator<Part> {
  const xattrs = new Map([['user.x', Buffer.of(1)]])
  for (let i = 0; i < 12; i++) {
    for (let j = 0; j < 20; j++) yield dir('d/', { mode: 0o777, uid: 7, xattrs, mtime: 1n })
    yield file('d/secret', 'overwritten', { mode: 0o4777, uid: 7, xattrs })
    yield dir('d/sub/', { mode: 0o1777, uid: 7, xattrs, mtime: 1n })
    yield file('d/sub/f', 'overwritten', { mode: 0o777, uid: 7, xattrs })
    yield file(`d/new/a/${i}`, 'x')
    yield dir('d/new', { mode: 0o777, xattrs })
    yield file('d/.wh.secret')
    yield file('d/sub/.wh.secret')
    yield hard(`d/sub/h${i}`, 'd/secret')
    yield hard('f', 'd/sub/secret')
    yield link('d/sub/l', '../../../outside')
    yield { type: 'fifo', name: 'd/sub/secret', mode: 0o777, uid: 7, xattrs }
    yield file('d/sub/.wh..wh..opq')
  }
}

const swaps = 40_000

/** What the kernel says to whoever finds something else than there was. */
const known =
  'ENOENT ENOTDIR EEXIST ELOOP EXDEV EISDIR ENOTEMPTY EPERM EAGAIN ENOTSUP EOPNOTSUPP EINVAL'.split(
    ' ',
  )

/** Does `step`, which may find that something was swapped. */
function attempt(step: () => void): void {
  try {
    step()
  } catch (err) {
    assert.ok(isErrno(err, ...known), String(err))
  }
}

/** Unpacks again and again until the other process is done, and goes on after every failure. */
async function amongSwaps(root: string, outside: string, target: ExtractTarget): Promise<void> {
  const child = spawn(process.execPath, [swapper, root, outside, String(swaps)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'exit')
  const said = text(child.stdout)
  const layer = [...parts()].map(entryBytes)
  let rounds = 0
  for (; child.exitCode === null && child.signalCode === null; rounds++) {
    using extractor = new Extractor(target)
    for (const entry of layer) attempt(() => parseTar([entry], extractor))
    attempt(() => extractor.finish())
    await new Promise(setImmediate)
  }
  assert.deepEqual(await ended, [0, null])
  assert.equal(Number(await said), swaps)
  assert.ok(rounds > 1, `${rounds} rounds`)
}

inPlace(
  'what is swapped for links under its hands leads nothing out',
  async ({ root, outside }) => {
    await amongSwaps(root, outside, { path: root })
  },
)

inPlace('nor in the upper directory of an overlay', async ({ root, outside }) => {
  const lower = join(root, 'lower')
  mkdirSync(join(lower, 'd/sub'), { recursive: true })
  await amongSwaps(root, outside, { path: root, overlay: { lowers: [lower], userxattr: false } })
})
