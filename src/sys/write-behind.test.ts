import assert from 'node:assert/strict'
import { closeSync, mkdtempDisposableSync, openSync, readFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'

import { isInMemory, unwritten } from '#testing/unwritten.ts'

import { WriteBehind, WriteBehindBeside, writeWindow } from './write-behind.ts'

const pieceBytes = 1 << 20
const pieces = 40

/** Writes a file, and tells `grown` after each piece. @returns what is not on disk at the end. */
async function writeFile(
  path: string,
  follow: (fd: number) => (end: number) => unknown,
): Promise<number | undefined> {
  const fd = openSync(path, 'w+')
  try {
    const grown = follow(fd)
    for (let n = 0; n < pieces; n++) {
      writeSync(fd, Buffer.alloc(pieceBytes, n), 0, pieceBytes, n * pieceBytes)
      await grown((n + 1) * pieceBytes)
    }
    return unwritten(fd)
  } finally {
    closeSync(fd)
  }
}

function assertWritten(t: TestContext, path: string, left: number | undefined): void {
  const bytes = readFileSync(path)
  assert.equal(bytes.length, pieces * pieceBytes)
  for (let n = 0; n < pieces; n++) assert.equal(bytes[n * pieceBytes], n)
  if (left === undefined) return t.skip('needs a kernel with cachestat(2)')
  if (isInMemory(path)) return t.skip('needs a temporary directory on a disk')
  assert.ok(left <= 2 * writeWindow + pieceBytes, `${left} bytes are not on disk`)
}

test('a file goes to disk as it grows, but for its end', async (t) => {
  using dir = mkdtempDisposableSync(join(tmpdir(), 'behind-'))
  const path = join(dir.path, 'file')
  const left = await writeFile(path, (fd) => {
    const behind = new WriteBehind(fd)
    return (end) => behind.grown(end)
  })
  assertWritten(t, path, left)
})

test('the end of a file goes to disk as its beginning did; a small one is left to others', () => {
  using dir = mkdtempDisposableSync(join(tmpdir(), 'behind-'))
  const fd = openSync(join(dir.path, 'file'), 'w+')
  const rest = writeWindow / 2
  try {
    const small = new WriteBehind(fd)
    small.grown(rest)
    assert.equal(small.ended(rest), rest)
    const large = new WriteBehind(fd)
    large.grown(writeWindow)
    assert.equal(large.ended(writeWindow + rest), 0)
  } finally {
    closeSync(fd)
  }
})

test('a file goes to disk as it grows beside the event loop', async (t) => {
  using dir = mkdtempDisposableSync(join(tmpdir(), 'behind-'))
  const path = join(dir.path, 'file')
  const left = await writeFile(path, (fd) => {
    const behind = new WriteBehindBeside(fd, 0)
    return async (end) => await behind.grown(end)
  })
  assertWritten(t, path, left)
})

test('a file that cannot be written is an error, and whoever waits for it to be idle goes on', async () => {
  const fd = openSync('/proc/self/mounts', 'r')
  closeSync(fd)
  const behind = new WriteBehindBeside(fd, 0)
  await assert.rejects(behind.grown(writeWindow), { code: 'EBADF', syscall: 'sync_file_range' })
  await behind.idle()
  assert.throws(() => new WriteBehind(fd).grown(writeWindow), { code: 'EBADF' })
})
