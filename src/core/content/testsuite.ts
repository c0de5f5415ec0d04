import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'

import type { Context } from '#core/context.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { rejectsCancelled, rejectsWith } from '#testing/rejects.ts'

import type { Store } from './content.ts'
import { readBlob } from './read-blob.ts'
import { openWriter, writeBlob } from './write-blob.ts'

type Open = (ctx: Context, root: string) => Promise<Store> | Store

/** What not every store can do. */
export interface ContentSupport {
  /** It keeps labels; one that does not refuses `update` with `failed_precondition`. */
  readonly labels: boolean
  /** Whether its writers can `append`. */
  readonly appends: boolean
}

interface Given {
  readonly ctx: Context
  readonly store: Store
  /** Closes the store and opens it again. */
  readonly reopen: () => Promise<Store>
}

const hello = Buffer.from('hello, world')
const bye = Buffer.from('bye')
const missing = digestOf('nothing has this')

/** The behaviour every content store owes its callers. Run it once per implementation and option. */
export function contentSuite(
  name: string,
  newContext: (t: TestContext) => Context,
  open: Open,
  supports: ContentSupport,
): void {
  const check = (title: string, body: (given: Given) => Promise<void>): void => {
    void test(title, async (t) => {
      await using dir = await mkdtempDisposable(join(tmpdir(), 'content-'))
      const ctx = newContext(t)
      let store = await open(ctx, dir.path)
      await using last = new AsyncDisposableStack()
      last.defer(async () => await store[Symbol.asyncDispose]())
      const reopen = async (): Promise<Store> => {
        await store[Symbol.asyncDispose]()
        store = await open(ctx, dir.path)
        return store
      }
      await body({ ctx, store, reopen })
    })
  }

  void suite(`${name} content store`, () => {
    checkReading(check)
    checkWriting(check)
    checkUploads(check)
    checkResuming(check)
    if (supports.appends) checkAppending(check)
    if (supports.labels) checkLabels(check)
    else {
      check('labels are refused', async ({ ctx, store }) => {
        const digest = await put(ctx, store, hello)
        await rejectsWith('failed_precondition', store.update(ctx, { digest, labels: {} }, []))
      })
    }
  })
}

type Check = (title: string, body: (given: Given) => Promise<void>) => void

function checkReading(check: Check): void {
  check('what was committed can be read', async ({ ctx, store }) => {
    const digest = await put(ctx, store, hello)
    const info = await store.info(ctx, digest)
    assert.equal(info.digest, digest)
    assert.equal(info.size, hello.length)
    assert.deepEqual({ ...info.labels }, {})
    assert.ok(Math.abs(info.createdAt.getTime() - Date.now()) < 60_000)
    assert.deepEqual(Buffer.from(await readBlob(ctx, store, digest, 100)), hello)
  })

  check('any part can be read, and reading ends at the end', async ({ ctx, store }) => {
    await using reader = await store.reader(ctx, await put(ctx, store, hello))
    assert.equal(reader.size, hello.length)
    assert.equal(Buffer.from(await reader.read(7, 5)).toString(), 'world')
    assert.equal(Buffer.from(await reader.read(7, 500)).toString(), 'world')
    assert.equal((await reader.read(hello.length, 1)).length, 0)
    assert.equal((await reader.read(500, 1)).length, 0)
    assert.equal((await reader.read(0, 0)).length, 0)
  })

  check('what is not there is not found', async ({ ctx, store }) => {
    await rejectsWith('not_found', store.info(ctx, missing))
    await rejectsWith('not_found', store.reader(ctx, missing))
    await rejectsWith('not_found', store.delete(ctx, missing))
    await rejectsWith('not_found', store.status(ctx, 'none'))
    await rejectsWith('not_found', store.abort(ctx, 'none'))
    assert.deepEqual(await Array.fromAsync(store.list(ctx)), [])
    assert.deepEqual(await store.listStatuses(ctx), [])
  })

  check('what was deleted is gone', async ({ ctx, store }) => {
    const digest = await put(ctx, store, hello)
    const kept = await put(ctx, store, bye)
    await store.delete(ctx, digest)
    await rejectsWith('not_found', store.info(ctx, digest))
    await rejectsWith('not_found', store.reader(ctx, digest))
    await rejectsWith('not_found', store.delete(ctx, digest))
    assert.deepEqual(await Array.fromAsync(store.list(ctx), (info) => info.digest), [kept])
  })

  check('blobs are listed, all or by filter', async ({ ctx, store }) => {
    const digests = [await put(ctx, store, hello), await put(ctx, store, bye)]
    const found = await Array.fromAsync(store.list(ctx), (info) => info.digest)
    assert.deepEqual(found.toSorted(), digests.toSorted())
    const one = await Array.fromAsync(store.list(ctx, [`digest==${digests[0]}`]))
    assert.deepEqual(
      one.map(({ digest, size }) => ({ digest, size })),
      [{ digest: digests[0], size: hello.length }],
    )
    assert.deepEqual(await Array.fromAsync(store.list(ctx, ['labels.x'])), [])
    await rejectsWith('invalid_argument', Array.fromAsync(store.list(ctx, ['digest==='])))
  })

  check('a blob that is too large is not read whole', async ({ ctx, store }) => {
    const digest = await put(ctx, store, hello)
    await rejectsWith('resource_exhausted', readBlob(ctx, store, digest, hello.length - 1))
  })

  check('everything is still there after a restart', async ({ ctx, store, reopen }) => {
    const digest = await put(ctx, store, hello)
    const again = await reopen()
    assert.deepEqual(Buffer.from(await readBlob(ctx, again, digest, 100)), hello)
  })
}

function checkWriting(check: Check): void {
  check('a large blob keeps its bytes and its order', async ({ ctx, store }) => {
    const bytes = randomBytes(5_000_001)
    const digest = digestOf(bytes)
    const chunks = [bytes.subarray(0, 1), bytes.subarray(1, 3_000_000), bytes.subarray(3_000_000)]
    await writeBlob(ctx, store, chunks, { ref: 'large', size: bytes.length, digest })
    assert.equal(digestOf(await readBlob(ctx, store, digest, bytes.length)), digest)
  })

  check('an empty blob is a blob', async ({ ctx, store }) => {
    const digest = await put(ctx, store, Buffer.alloc(0))
    assert.equal((await store.info(ctx, digest)).size, 0)
    assert.equal((await readBlob(ctx, store, digest, 0)).length, 0)
  })

  for (const algorithm of ['sha384', 'sha512'] as const) {
    check(`the digest of a blob may be ${algorithm}`, async ({ ctx, store, reopen }) => {
      const digest = digestOf(hello, algorithm)
      await writeBlob(ctx, store, [hello], { ref: 'a', digest })
      assert.equal((await store.info(ctx, digest)).size, hello.length)
      await rejectsWith('already_exists', store.writer(ctx, { ref: 'again', expected: digest }))

      const late = digestOf(bye, algorithm)
      {
        await using writer = await store.writer(ctx, { ref: 'b' })
        await writer.write(ctx, bye)
        assert.equal(writer.digest(), digestOf(bye))
        await writer.commit(ctx, { expected: late })
      }
      const whole = digestOf(Buffer.concat([hello, bye]), algorithm)
      {
        await using writer = await store.writer(ctx, { ref: 'c', expected: whole })
        await writer.write(ctx, hello)
      }
      const again = await reopen()
      await using writer = await again.writer(ctx, { ref: 'c', expected: whole })
      assert.equal(writer.status().offset, hello.length)
      await writer.write(ctx, bye)
      await writer.commit(ctx, { expected: whole })

      assert.deepEqual(Buffer.from(await readBlob(ctx, again, late, 100)), bye)
      const found = await Array.fromAsync(again.list(ctx), (info) => info.digest)
      assert.deepEqual(found.toSorted(), [digest, late, whole].toSorted())
      await again.delete(ctx, late)
      await rejectsWith('not_found', again.info(ctx, late))
    })
  }

  check('a wrong digest is not committed, and the upload stays', async ({ ctx, store }) => {
    await using writer = await store.writer(ctx, { ref: 'up' })
    await writer.write(ctx, hello)
    const unexpected = /unexpected commit digest sha256:\w+, expected sha256:\w+/
    await rejectsWith('failed_precondition', writer.commit(ctx, { expected: missing }), unexpected)
    await rejectsWith('failed_precondition', writer.commit(ctx, {}))
    await rejectsWith('not_found', store.info(ctx, digestOf(hello)))
    assert.equal((await store.status(ctx, 'up')).offset, hello.length)
    await using again = await openWriter(ctx, store, { ref: 'up' })
    assert.equal(again.digest(), digestOf(hello))
    await again.commit(ctx, { expected: digestOf(hello) })
  })

  check('a commit that fails frees the name, and the next one can succeed', async (given) => {
    const { ctx, store } = given
    const known = await put(ctx, store, hello)
    const more = Buffer.concat([hello, bye])
    const reopenUpload = async () => await openWriter(ctx, store, { ref: 'up' })
    for (const expected of [known, '']) {
      await using writer = await reopenUpload()
      await writer.write(ctx, hello)
      await rejectsWith('unavailable', store.writer(ctx, { ref: 'up' }))
      await rejectsWith('already_exists', writer.commit(ctx, { size: hello.length, expected }))
    }
    {
      await using writer = await reopenUpload()
      await writer.write(ctx, more)
      const wrong = writer.commit(ctx, { size: more.length, expected: missing })
      await rejectsWith('failed_precondition', wrong)
    }
    {
      await using writer = await reopenUpload()
      assert.equal(writer.status().offset, more.length)
      await rejectsWith('failed_precondition', writer.commit(ctx, { size: hello.length }))
    }
    {
      await using writer = await reopenUpload()
      await writer.commit(ctx, { size: more.length })
    }
    assert.equal((await store.info(ctx, digestOf(more))).size, more.length)
    await using writer = await reopenUpload()
    assert.equal(writer.status().offset, 0)
  })

  check('a wrong size is not committed', async ({ ctx, store }) => {
    await using writer = await store.writer(ctx, { ref: 'up' })
    await writer.write(ctx, hello)
    const unexpected = /unexpected commit size 12, expected 5|size validation: 12 != 5/
    await rejectsWith('failed_precondition', writer.commit(ctx, { size: 5 }), unexpected)
    await rejectsWith('not_found', store.info(ctx, digestOf(hello)))
  })

  check('what is there is not written again', async ({ ctx, store }) => {
    const digest = await put(ctx, store, hello)
    await rejectsWith('already_exists', store.writer(ctx, { ref: 'again', expected: digest }))
    await using writer = await store.writer(ctx, { ref: 'unknowing' })
    await writer.write(ctx, hello)
    await rejectsWith('already_exists', writer.commit(ctx, {}))
    await rejectsWith('not_found', store.status(ctx, 'unknowing'))
    await writeBlob(ctx, store, [hello], { ref: 'helper', digest })
    await writeBlob(ctx, store, [hello], { ref: 'helper' })
  })

  check('many uploads at once do not mix', async ({ ctx, store }) => {
    const blobs = Array.from({ length: 20 }, (_, at) => randomBytes(10_000 + at))
    const digests = await Promise.all(blobs.map(async (bytes) => await put(ctx, store, bytes)))
    assert.deepEqual(
      digests,
      blobs.map((bytes) => digestOf(bytes)),
    )
    const found = await Array.fromAsync(store.list(ctx), (info) => info.digest)
    assert.deepEqual(found.toSorted(), digests.toSorted())
    assert.deepEqual(await store.listStatuses(ctx), [])
  })

  check('the same content may be uploaded twice at once', async ({ ctx, store }) => {
    const digest = digestOf(hello)
    const refs = ['a', 'b', 'c', 'd']
    await Promise.all(
      refs.map(async (ref) => await writeBlob(ctx, store, [hello], { ref, digest })),
    )
    assert.deepEqual(Buffer.from(await readBlob(ctx, store, digest, 100)), hello)
    assert.deepEqual(await store.listStatuses(ctx), [])
  })
}

function checkUploads(check: Check): void {
  check('an upload shows how far it is', async ({ ctx, store }) => {
    const before = Date.now()
    await using writer = await store.writer(ctx, { ref: 'up', total: 20 })
    await writer.write(ctx, hello)
    for (const status of [writer.status(), await store.status(ctx, 'up')]) {
      assert.equal(status.ref, 'up')
      assert.equal(status.offset, hello.length)
      assert.equal(status.total, 20)
      assert.ok(status.startedAt.getTime() >= before - 1000)
      assert.ok(status.updatedAt.getTime() >= status.startedAt.getTime() - 1000)
    }
    assert.equal(writer.digest(), digestOf(hello))
  })

  check('uploads are listed, all or by filter', async ({ ctx, store }) => {
    await using _one = await store.writer(ctx, { ref: 'one' })
    await using _two = await store.writer(ctx, { ref: 'two/with:odd signs' })
    const refs = (await store.listStatuses(ctx)).map((status) => status.ref)
    assert.deepEqual(refs.toSorted(), ['one', 'two/with:odd signs'])
    const some = await store.listStatuses(ctx, ['ref~=/^two/'])
    assert.deepEqual(
      some.map((status) => status.ref),
      ['two/with:odd signs'],
    )
    await rejectsWith('invalid_argument', store.listStatuses(ctx, ['ref==']))
  })

  check('an aborted upload is gone', async ({ ctx, store }) => {
    {
      await using writer = await store.writer(ctx, { ref: 'up' })
      await writer.write(ctx, hello)
    }
    await store.abort(ctx, 'up')
    await rejectsWith('not_found', store.status(ctx, 'up'))
    await rejectsWith('not_found', store.abort(ctx, 'up'))
    await using writer = await store.writer(ctx, { ref: 'up' })
    assert.equal(writer.status().offset, 0)
  })

  check('two do not write to one ref', async ({ ctx, store }) => {
    await using writer = await store.writer(ctx, { ref: 'up' })
    const locked = /up locked for \S+ \(since .*\)/
    await rejectsWith('unavailable', store.writer(ctx, { ref: 'up' }), locked)
    const waiting = openWriter(ctx, store, { ref: 'up' })
    await writer.write(ctx, hello)
    await writer[Symbol.asyncDispose]()
    await using next = await waiting
    assert.equal(next.status().offset, hello.length)
  })

  check('an upload needs a name and a digest that is one', async ({ ctx, store }) => {
    await rejectsWith('invalid_argument', store.writer(ctx, { ref: '' }))
    await rejectsWith('invalid_argument', store.info(ctx, 'sha256:../../../etc/passwd'))
    await rejectsWith('invalid_argument', store.reader(ctx, 'md5:abc'))
    await rejectsWith('invalid_argument', store.delete(ctx, 'hello'))
  })

  check('a cancelled call does nothing', async ({ ctx, store }) => {
    const cancelled = { ...ctx, signal: AbortSignal.abort() }
    const digest = await put(ctx, store, hello)
    await rejectsCancelled(store.writer(cancelled, { ref: 'up' }))
    await rejectsCancelled(store.delete(cancelled, digest))
    await rejectsCancelled(Array.fromAsync(store.list(cancelled)))
    await using writer = await store.writer(ctx, { ref: 'up' })
    await rejectsCancelled(writer.write(cancelled, hello))
    assert.equal(writer.status().offset, 0)
    await rejectsCancelled(writer.commit(cancelled, {}))
    await store.info(ctx, digest)
  })

  check('closing twice is closing once', async ({ ctx, store }) => {
    const writer = await store.writer(ctx, { ref: 'up' })
    await writer[Symbol.asyncDispose]()
    await writer[Symbol.asyncDispose]()
    await rejectsWith('failed_precondition', writer.write(ctx, hello))
    await using other = await store.writer(ctx, { ref: 'up' })
    await writer[Symbol.asyncDispose]()
    await rejectsWith('unavailable', store.writer(ctx, { ref: 'up' }))
    await other.write(ctx, hello)
    await other.commit(ctx, {})
    await store[Symbol.asyncDispose]()
  })
}

function checkAppending(check: Check): void {
  check('what is appended counts before it is written', async ({ ctx, store }) => {
    await using writer = await store.writer(ctx, { ref: 'ahead' })
    const appended: { readonly written: Promise<void> }[] = []
    for (const part of [hello.subarray(0, 3), hello.subarray(3)]) {
      const written = await writer.append?.(ctx, part)
      assert.ok(written)
      appended.push(written)
    }
    assert.deepEqual([writer.status().offset, writer.digest()], [hello.length, digestOf(hello)])
    for (const { written } of appended) await written
    await writer.commit(ctx, { size: hello.length, expected: digestOf(hello) })
    assert.deepEqual(Buffer.from(await readBlob(ctx, store, digestOf(hello), 100)), hello)
  })
}

function checkResuming(check: Check): void {
  check('an upload goes on where it stopped', async ({ ctx, store, reopen }) => {
    const whole = Buffer.concat([hello, bye])
    {
      await using writer = await store.writer(ctx, { ref: 'up', total: whole.length })
      await writer.write(ctx, hello)
    }
    const again = await reopen()
    await using writer = await again.writer(ctx, { ref: 'up', total: whole.length })
    const status = writer.status()
    assert.equal(status.offset, hello.length)
    assert.equal(status.total, whole.length)
    assert.equal(writer.digest(), digestOf(hello))
    await writer.write(ctx, bye)
    await writer.commit(ctx, { size: whole.length, expected: digestOf(whole) })
    assert.deepEqual(Buffer.from(await readBlob(ctx, again, digestOf(whole), 100)), whole)
  })

  for (const size of [500, 50_000]) {
    check(`any part of ${size} bytes can be gone on with`, async ({ ctx, store }) => {
      for (const part of [0, 0.1, 0.5, 0.9, 1]) {
        const bytes = randomBytes(size)
        const [digest, cut] = [digestOf(bytes), size * part]
        const options = { ref: `part-${part}`, total: size, expected: digest }
        {
          await using writer = await openWriter(ctx, store, options)
          await writer.write(ctx, bytes.subarray(0, cut))
        }
        await using writer = await openWriter(ctx, store, options)
        assert.equal(writer.status().offset, cut)
        if (part === 0.5) await writer.truncate(ctx, 0)
        const from = writer.status().offset
        for (let at = from; at < size; at += 1024) {
          await writer.write(ctx, bytes.subarray(at, Math.min(size, at + 1024)))
        }
        const before = Date.now()
        await writer.commit(ctx, { size, expected: digest })
        const info = await store.info(ctx, digest)
        assert.equal(info.size, size)
        for (const time of [info.createdAt, info.updatedAt]) {
          assert.ok(time.getTime() >= before - 1000 && time.getTime() <= Date.now() + 1000)
        }
      }
    })
  }

  check('who writes from the start again skips what is there', async ({ ctx, store }) => {
    {
      await using writer = await store.writer(ctx, { ref: 'up' })
      await writer.write(ctx, hello.subarray(0, 5))
    }
    const chunks = [hello.subarray(0, 2), hello.subarray(2, 8), hello.subarray(8)]
    await writeBlob(ctx, store, chunks, { ref: 'up', digest: digestOf(hello) })
    assert.deepEqual(Buffer.from(await readBlob(ctx, store, digestOf(hello), 100)), hello)
  })

  check('an upload can begin anew', async ({ ctx, store }) => {
    await using writer = await store.writer(ctx, { ref: 'up' })
    await writer.write(ctx, hello)
    await writer.truncate(ctx, 0)
    assert.equal(writer.status().offset, 0)
    assert.equal(writer.digest(), digestOf(''))
    await writer.write(ctx, bye)
    await writer.commit(ctx, { size: bye.length, expected: digestOf(bye) })
    assert.deepEqual(Buffer.from(await readBlob(ctx, store, digestOf(bye), 100)), bye)
  })
}

function checkLabels(check: Check): void {
  check('a blob is committed with its labels', async ({ ctx, store }) => {
    const digest = digestOf(hello)
    await writeBlob(ctx, store, [hello], { ref: 'up', labels: { a: '1', 'x.y/z': '2' } })
    const { labels } = await store.info(ctx, digest)
    assert.deepEqual({ ...labels }, { a: '1', 'x.y/z': '2' })
    const found = await Array.fromAsync(store.list(ctx, ['labels."x.y/z"==2']))
    assert.deepEqual(
      found.map((info) => info.digest),
      [digest],
    )
  })

  check('labels are changed one by one or all together', async ({ ctx, store }) => {
    const digest = digestOf(hello)
    await writeBlob(ctx, store, [hello], { ref: 'up', labels: { a: '1', b: '2' } })
    const change = async (labels: Record<string, string>, ...paths: string[]): Promise<object> => {
      const changed = await store.update(ctx, { digest, labels }, paths)
      const { labels: stored } = await store.info(ctx, digest)
      assert.deepEqual({ ...changed.labels }, { ...stored })
      return { ...stored }
    }
    assert.deepEqual(await change({ b: '3', c: '4' }, 'labels.b'), { a: '1', b: '3' })
    assert.deepEqual(await change({}, 'labels.a'), { b: '3' })
    assert.deepEqual(await change({ c: '4' }, 'labels'), { c: '4' })
    assert.deepEqual(await change({ d: '5' }), { d: '5' })
    const update = { digest, labels: {} }
    await rejectsWith('invalid_argument', store.update(ctx, update, ['size']))
    await rejectsWith('not_found', store.update(ctx, { digest: missing, labels: {} }, []))
    const long = { digest, labels: { long: 'x'.repeat(4096) } }
    await rejectsWith('invalid_argument', store.update(ctx, long, []))
  })
}

/** Writes `bytes` and gives their digest. */
async function put(ctx: Context, store: Store, bytes: Uint8Array): Promise<string> {
  const digest = digestOf(bytes)
  await writeBlob(ctx, store, [bytes], { ref: `put-${digest}`, size: bytes.length, digest })
  return digest
}
