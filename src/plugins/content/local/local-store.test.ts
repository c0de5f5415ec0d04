import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { readBlob } from '#core/content/read-blob.ts'
import { contentSuite } from '#core/content/testsuite.ts'
import { writeBlob } from '#core/content/write-blob.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { mountAll, unmountAll } from '#sys/mount.ts'
import { newContext } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { root } from '#testing/root.ts'

import { LocalStore } from './local-store.ts'

contentSuite('local', newContext, (ctx, path) => LocalStore.open(ctx, path), {
  labels: false,
  appends: true,
})

/** Commits blobs for ever, several at a time, and prints their digests. */
const writerProgram = fileURLToPath(new URL('writer.fixture.ts', import.meta.url))

const scratch = async (): Promise<Awaited<ReturnType<typeof mkdtempDisposable>>> =>
  await mkdtempDisposable(join(tmpdir(), 'local-content-'))
const read = (...path: string[]): string => fs.readFileSync(join(...path), 'utf8')
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

suite('local content store on disk', () => {
  test('an upload has the files containerd gives it', async (t) => {
    await using dir = await scratch()
    const ctx = newContext(t)
    const store = LocalStore.open(ctx, dir.path)
    const ingest = join(dir.path, 'ingest', sha256('default/1/up'))
    {
      await using writer = await store.writer(ctx, { ref: 'default/1/up', total: 9 })
      await writer.write(ctx, Buffer.from('hello'))
    }
    assert.deepEqual(fs.readdirSync(ingest).toSorted(), [
      'data',
      'ref',
      'startedat',
      'total',
      'updatedat',
    ])
    assert.equal(read(ingest, 'ref'), 'default/1/up')
    assert.equal(read(ingest, 'data'), 'hello')
    assert.equal(read(ingest, 'total'), '9')
    assert.match(read(ingest, 'startedat'), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/)
    assert.match(read(ingest, 'updatedat'), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/)
  })

  test('a blob is a read-only file, and its upload is gone', async (t) => {
    await using dir = await scratch()
    const ctx = newContext(t)
    const store = LocalStore.open(ctx, dir.path)
    await writeBlob(ctx, store, [Buffer.from('hello')], { ref: 'up' })
    const path = join(dir.path, 'blobs/sha256', sha256('hello'))
    assert.equal(read(path), 'hello')
    assert.equal(fs.statSync(path).mode & 0o333, 0)
    assert.deepEqual(fs.readdirSync(join(dir.path, 'ingest')), [])
  })

  test('the path of a reader leads to the blob also when its file is gone', async (t) => {
    await using dir = await scratch()
    const ctx = newContext(t)
    const store = LocalStore.open(ctx, dir.path)
    await writeBlob(ctx, store, [Buffer.from('hello')], { ref: 'up' })
    await using reader = await store.reader(ctx, digestOf('hello'))
    assert.equal(read(reader.path), 'hello')
    await store.delete(ctx, digestOf('hello'))
    assert.ok(!fs.existsSync(join(dir.path, 'blobs/sha256', sha256('hello'))))
    assert.equal(read(reader.path), 'hello')
    // Each who opens it reads from the start, and none moves where another one is.
    assert.equal(Buffer.from(await reader.read(1, 3)).toString(), 'ell')
  })

  test('an upload that containerd began goes on', async (t) => {
    await using dir = await scratch()
    const ctx = newContext(t)
    const ingest = join(dir.path, 'ingest', sha256('up'))
    fs.mkdirSync(ingest, { recursive: true })
    fs.writeFileSync(join(ingest, 'ref'), 'up')
    fs.writeFileSync(join(ingest, 'data'), 'hel')
    fs.writeFileSync(join(ingest, 'startedat'), '2026-01-02T03:04:05.678901234+01:00')
    fs.writeFileSync(join(ingest, 'updatedat'), '2026-01-02T03:04:05.678901234+01:00')
    const store = LocalStore.open(ctx, dir.path)
    await using writer = await store.writer(ctx, { ref: 'up' })
    assert.equal(writer.status().offset, 3)
    assert.equal(writer.status().startedAt.toISOString(), '2026-01-02T02:04:05.678Z')
    await writer.write(ctx, Buffer.from('lo'))
    await writer.commit(ctx, { expected: digestOf('hello') })
  })

  for (const [name, total, damage] of [
    ['without data', 12, (dir: string) => fs.rmSync(join(dir, 'data'))],
    ['of another ref', 12, (dir: string) => fs.writeFileSync(join(dir, 'ref'), 'other')],
    ['of which more is there than it has in all', 3, () => {}],
  ] as const) {
    test(`an upload ${name} begins anew`, async (t) => {
      await using dir = await scratch()
      const ctx = newContext(t)
      const store = LocalStore.open(ctx, dir.path)
      {
        await using writer = await store.writer(ctx, { ref: 'up' })
        await writer.write(ctx, Buffer.from('hello, world'))
      }
      damage(join(dir.path, 'ingest', sha256('up')))
      await using writer = await store.writer(ctx, { ref: 'up', total })
      assert.deepEqual([writer.status().offset, writer.status().total], [0, total])
      await writer.write(ctx, Buffer.from('bye'))
      await writer.commit(ctx, { expected: digestOf('bye'), size: 3 })
    })
  }

  test('an upload that is said to have another size goes on with what has come', async (t) => {
    await using dir = await scratch()
    const ctx = newContext(t)
    const store = LocalStore.open(ctx, dir.path)
    {
      await using writer = await store.writer(ctx, { ref: 'up', total: 5 })
      await writer.write(ctx, Buffer.from('hello'))
    }
    await using writer = await store.writer(ctx, { ref: 'up', total: 7 })
    assert.deepEqual([writer.status().offset, writer.status().total], [5, 7])
    assert.equal((await store.status(ctx, 'up')).total, 7)
    await writer.write(ctx, Buffer.from(', you'))
    await writer.commit(ctx, { expected: digestOf('hello, you') })
  })

  test('times that a power cut left empty do not hide an upload', async (t) => {
    await using dir = await scratch()
    const ctx = newContext(t)
    const store = LocalStore.open(ctx, dir.path)
    {
      await using writer = await store.writer(ctx, { ref: 'up' })
      await writer.write(ctx, Buffer.from('hello'))
    }
    const ingest = join(dir.path, 'ingest', sha256('up'))
    for (const file of ['startedat', 'updatedat', 'total']) fs.writeFileSync(join(ingest, file), '')
    assert.equal((await store.status(ctx, 'up')).offset, 5)
    await using writer = await store.writer(ctx, { ref: 'up' })
    assert.equal(writer.digest(), digestOf('hello'))
  })

  test('an upload can be cut back to any size', async (t) => {
    await using dir = await scratch()
    const ctx = newContext(t)
    const store = LocalStore.open(ctx, dir.path)
    await using writer = await store.writer(ctx, { ref: 'up' })
    await writer.write(ctx, Buffer.from('hello, world'))
    await writer.truncate(ctx, 5)
    assert.equal(writer.digest(), digestOf('hello'))
    await writer.commit(ctx, { expected: digestOf('hello'), size: 5 })
  })

  test('a blob that is deleted can be read to its end', async (t) => {
    await using dir = await scratch()
    const ctx = newContext(t)
    const store = LocalStore.open(ctx, dir.path)
    await writeBlob(ctx, store, [Buffer.from('hello')], { ref: 'up' })
    await using reader = await store.reader(ctx, digestOf('hello'))
    await store.delete(ctx, digestOf('hello'))
    assert.equal(Buffer.from(await reader.read(0, 100)).toString(), 'hello')
  })

  test('files that are no blobs are not listed', async (t) => {
    await using dir = await scratch()
    const ctx = newContext(t)
    const store = LocalStore.open(ctx, dir.path)
    await writeBlob(ctx, store, [Buffer.from('hello')], { ref: 'up' })
    fs.writeFileSync(join(dir.path, 'blobs/sha256/README'), '')
    fs.mkdirSync(join(dir.path, 'blobs/md5'))
    fs.writeFileSync(join(dir.path, 'blobs/md5', sha256('x')), '')
    const found = await Array.fromAsync(store.list(ctx), (info) => info.digest)
    assert.deepEqual(found, [digestOf('hello')])
  })

  test('writes that do not wait for each other keep their order', async (t) => {
    await using dir = await scratch()
    const ctx = newContext(t)
    const store = LocalStore.open(ctx, dir.path)
    await using writer = await store.writer(ctx, { ref: 'up' })
    const parts = [randomBytes(3 << 20), randomBytes(100), randomBytes(2 << 20)]
    await Promise.all(parts.map(async (part) => await writer.write(ctx, part)))
    await writer.commit(ctx, { expected: digestOf(Buffer.concat(parts)) })
  })

  test('a large write lets others have their turn', async (t) => {
    await using dir = await scratch()
    const ctx = newContext(t)
    const store = LocalStore.open(ctx, dir.path)
    await using writer = await store.writer(ctx, { ref: 'up' })
    const bytes = randomBytes(16 << 20)
    let turns = 0
    using _ = setInterval(() => turns++, 0)
    await writer.write(ctx, bytes)
    assert.ok(turns > 0)
    assert.equal(writer.digest(), digestOf(bytes))
  })

  test('a full disk is told by name, and deleting still works', async (t) => {
    if (!root(t)) return
    await using dir = await scratch()
    using undo = new DisposableStack()
    undo.defer(() => unmountAll(dir.path))
    mountAll([{ type: 'tmpfs', source: 'tmpfs', options: ['size=2m'] }], dir.path)
    const ctx = newContext(t)
    const store = LocalStore.open(ctx, dir.path)
    const half = Buffer.alloc(1 << 20)
    await writeBlob(ctx, store, [half], { ref: 'half' })
    const tooMuch = writeBlob(ctx, store, [half.fill(1), half], { ref: 'too-much' })
    await rejectsWith(
      'resource_exhausted',
      tooMuch,
      new RegExp(`write ${dir.path}/ingest/\\w+/data: no space`),
    )
    await store.delete(ctx, digestOf(half.fill(0)))
    await using writer = await store.writer(ctx, { ref: 'too-much' })
    assert.ok(writer.status().offset < 2 << 20)
    await writer.truncate(ctx, 0)
    await writer.write(ctx, half)
    await writer.commit(ctx, { expected: digestOf(half) })
  })

  test('a disk that has no name left is told at once', async (t) => {
    if (!root(t)) return
    await using dir = await scratch()
    using undo = new DisposableStack()
    undo.defer(() => unmountAll(dir.path))
    // The root, and the two directories of the store.
    mountAll([{ type: 'tmpfs', source: 'tmpfs', options: ['nr_inodes=3'] }], dir.path)
    const ctx = newContext(t)
    const store = LocalStore.open(ctx, dir.path)
    fs.writeFileSync(join(dir.path, 'last'), '')
    const told = new RegExp(`write ${dir.path}/ingest/\\w+: no space left on device`)
    await rejectsWith('resource_exhausted', store.writer(ctx, { ref: 'up' }), told)
    fs.rmSync(join(dir.path, 'last'))
    assert.deepEqual(fs.readdirSync(join(dir.path, 'ingest')), [])
  })

  test('what a killed daemon had committed is whole, and its uploads go on', async (t) => {
    await using dir = await scratch()
    const ctx = newContext(t)
    const child = spawn(process.execPath, [writerProgram, dir.path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const committed: string[] = []
    for await (const line of createInterface(child.stdout)) {
      committed.push(line)
      if (committed.length === 20) child.kill('SIGKILL')
    }
    const store = LocalStore.open(ctx, dir.path)
    const listed = await Array.fromAsync(store.list(ctx), (info) => info.digest)
    assert.ok(committed.length >= 20)
    for (const digest of committed) assert.ok(listed.includes(digest), digest)
    for (const digest of listed) {
      assert.equal(digestOf(await readBlob(ctx, store, digest, 1 << 20)), digest)
    }
    for (const { ref, offset } of await store.listStatuses(ctx)) {
      await using writer = await store.writer(ctx, { ref })
      assert.equal(writer.status().offset, offset)
      await writer.write(ctx, Buffer.from(`more of ${ref}`))
      await writer.commit(ctx, {})
    }
    assert.deepEqual(await store.listStatuses(ctx), [])
  })
})
