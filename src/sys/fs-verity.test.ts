import assert from 'node:assert/strict'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { isErrno } from './errno.ts'
import { enableArg, enableVerity } from './fs-verity.ts'

suite('fs-verity', () => {
  test('what the kernel is asked for is 128 bytes: version, SHA-256, size of blocks', () => {
    const arg = enableArg(4096)
    assert.equal(arg.length, 128)
    const view = new DataView(arg.buffer)
    assert.deepEqual(
      [0, 4, 8].map((at) => view.getUint32(at, true)),
      [1, 1, 4096],
    )
    assert.ok(arg.subarray(12).every((byte) => byte === 0))
  })

  test('a file system without it says so, and a descriptor that is none does too', async () => {
    await assert.rejects(enableVerity(-1, 4096), (err) => isErrno(err, 'EBADF'))
    await using dir = await mkdtempDisposable(join(tmpdir(), 'verity-'))
    const path = join(dir.path, 'file')
    writeFileSync(path, 'hello')
    // Open for writing, a file is refused by a kernel that knows fs-verity, too.
    const fd = openSync(path, 'r+')
    try {
      await assert.rejects(
        enableVerity(fd, 4096),
        (err) => isErrno(err, 'ENOTTY', 'ENOTSUP', 'ETXTBSY') && err.syscall === 'ioctl',
      )
    } finally {
      closeSync(fd)
    }
  })
})
