import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { readBlob } from '#core/content/read-blob.ts'
import { writeBlob } from '#core/content/write-blob.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { isErrno } from '#sys/errno.ts'
import { newContext } from '#testing/context.ts'
import { root } from '#testing/root.ts'

import { LocalStore } from './local-store.ts'

const hello = Buffer.from('hello, world')
const digest = digestOf(hello)

suite('integrity of blobs', () => {
  test('a probe that was cut off goes with the next one, and leaves nothing', async (t) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'integrity-'))
    fs.mkdirSync(join(dir.path, '.fsverity-check-1234'))
    fs.writeFileSync(join(dir.path, '.fsverity-check-1234', 'supported'), '')
    const ctx = newContext(t)
    const store = LocalStore.open(ctx, dir.path)
    await writeBlob(ctx, store, [hello], { ref: 'up', digest })
    assert.deepEqual(fs.readdirSync(dir.path).toSorted(), ['blobs', 'ingest'])
    assert.deepEqual(Buffer.from(await readBlob(ctx, store, digest, 100)), hello)
  })

  test('the kernel guards blobs where it can', async (t) => {
    if (!root(t)) return
    if (!fs.existsSync('/sys/fs/ext4/features/verity')) return t.skip('no fs-verity in this kernel')
    await using dir = await mkdtempDisposable(join(tmpdir(), 'integrity-'))
    const image = join(dir.path, 'image')
    const at = join(dir.path, 'mnt')
    fs.mkdirSync(at)
    fs.writeFileSync(image, '')
    fs.truncateSync(image, 32 << 20)
    execFileSync('mkfs.ext4', ['-q', '-O', 'verity', '-b', '4096', image])
    execFileSync('mount', ['-o', 'loop', image, at])
    using undo = new DisposableStack()
    undo.defer(() => execFileSync('umount', [at]))

    const ctx = newContext(t)
    const store = LocalStore.open(ctx, at)
    await writeBlob(ctx, store, [hello], { ref: 'up', digest })
    const blob = join(at, 'blobs', digest.replace(':', '/'))
    assert.match(execFileSync('lsattr', [blob], { encoding: 'utf8' }), /^\S*V\S* /)
    assert.throws(
      () => fs.openSync(blob, 'r+'),
      (err) => isErrno(err, 'EPERM', 'EACCES'),
    )
    assert.deepEqual(Buffer.from(await readBlob(ctx, store, digest, 100)), hello)
    await store.delete(ctx, digest)
  })
})
