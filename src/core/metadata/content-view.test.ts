import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { fromBinary } from '@bufbuild/protobuf'

import { readBlob } from '#core/content/read-blob.ts'
import { writeBlob } from '#core/content/write-blob.ts'
import { ContentCreateSchema } from '#gen/events/content_pb.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { withMetadata } from '#testing/metadata.ts'
import { rejectsWith } from '#testing/rejects.ts'

const hello = Buffer.from('hello, world')
const digest = digestOf(hello)

void suite('content of namespaces', () => {
  void test('a blob of one namespace is not one of another', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { content } }) => {
      await writeBlob(ctx, content, [hello], { ref: 'up', digest })
      const other = { ...ctx, namespace: 'other' }
      const message = `content digest ${digest}: not found`
      await rejectsWith('not_found', content.info(other, digest), message)
      await rejectsWith('not_found', content.reader(other, digest), message)
      await rejectsWith('not_found', content.delete(other, digest), message)
      assert.deepEqual(await Array.fromAsync(content.list(other)), [])
    })
  })

  void test('shared, a blob of another namespace needs no upload', async (t) => {
    await withMetadata(t, async ({ ctx, metadata, content: backend, events }) => {
      const { content } = metadata
      await writeBlob(ctx, content, [hello], { ref: 'up', digest })
      const other = { ...ctx, namespace: 'other' }
      await using writer = await content.writer(other, {
        ref: 'up',
        expected: digest,
        mediaType: 'text/plain',
      })
      assert.equal(writer.status().offset, hello.length)
      assert.equal(writer.digest(), digest)
      assert.deepEqual(await backend.listStatuses(ctx), [])
      await rejectsWith('failed_precondition', writer.commit(other, { size: 5 }))
      const wrong = writer.commit(other, { expected: digestOf('x') })
      await rejectsWith('not_found', content.info(other, digest))
      await rejectsWith('failed_precondition', wrong, '"up" unexpected digest: failed precondition')
      await writer.commit(other, { labels: { a: '1' } })
      assert.deepEqual((await content.info(other, digest)).labels, { a: '1' })
      assert.deepEqual((await content.info(ctx, digest)).labels, {})
      assert.deepEqual(
        events.map(({ namespace, topic, event }) => {
          assert.equal(event.typeUrl, 'containerd.events.ContentCreate')
          const { size, mediaType } = fromBinary(ContentCreateSchema, event.value)
          return [namespace, topic, size, mediaType]
        }),
        [
          ['testing', '/content/create', 12n, ''],
          ['other', '/content/create', 12n, 'text/plain'],
        ],
      )
    })
  })

  for (const end of ['aborted', 'committed with other bytes'] as const) {
    void test(`a blob that only an upload named goes when that is ${end}`, async (t) => {
      await withMetadata(t, async ({ ctx, metadata, content: backend }) => {
        const { content } = metadata
        await writeBlob(ctx, content, [hello], { ref: 'up', digest })
        await content.delete(ctx, digest)
        {
          await using writer = await content.writer(ctx, { ref: 'again', expected: digest })
          await metadata.collect(ctx)
          assert.equal((await backend.info(ctx, digest)).size, hello.length)
          if (end !== 'aborted') {
            await writer.write(ctx, hello)
            await writer.commit(ctx, {})
          }
        }
        if (end === 'aborted') await content.abort(ctx, 'again')
        await metadata.collect(ctx)
        await rejectsWith('not_found', backend.info(ctx, digest))
      })
    })
  }

  void test('isolated, a blob of another namespace has to be sent', async (t) => {
    const policy = 'isolated'
    await withMetadata(
      t,
      async ({ ctx, metadata: { content } }) => {
        await writeBlob(ctx, content, [hello], { ref: 'up', digest })
        const other = { ...ctx, namespace: 'other' }
        await using writer = await content.writer(other, { ref: 'up', expected: digest })
        assert.equal(writer.status().offset, 0)
        await rejectsWith('failed_precondition', writer.commit(other, { expected: digest }))
        await writer[Symbol.asyncDispose]()
        await writeBlob(other, content, [hello], { ref: 'up', digest })
        assert.equal((await content.info(other, digest)).size, hello.length)
      },
      () => ({ policy }),
    )
  })

  void test('isolated, a namespace may say that it shares', async (t) => {
    await withMetadata(
      t,
      async ({ ctx, metadata: { content, namespaces } }) => {
        const label = 'containerd.io/namespace.shareable'
        await namespaces.create(ctx, { name: 'testing', labels: { [label]: 'true' } })
        await writeBlob(ctx, content, [hello], { ref: 'up', digest })
        const other = { ...ctx, namespace: 'other' }
        await using writer = await content.writer(other, { ref: 'up', expected: digest })
        assert.equal(writer.status().offset, hello.length)
      },
      () => ({ policy: 'isolated' }),
    )
  })

  void test('a blob of another size than expected is not shared', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { content } }) => {
      await writeBlob(ctx, content, [hello], { ref: 'up', digest })
      const other = { ...ctx, namespace: 'other' }
      const options = { ref: 'up', expected: digest, total: 5 }
      await using writer = await content.writer(other, options)
      assert.equal(writer.status().offset, 0)
    })
  })

  void test('bytes after a shared blob go to a copy of it', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { content } }) => {
      await writeBlob(ctx, content, [hello], { ref: 'up', digest })
      const other = { ...ctx, namespace: 'other' }
      await using writer = await content.writer(other, { ref: 'up', expected: digest })
      await writer.write(other, Buffer.alloc(0))
      assert.equal(writer.digest(), digest)
      await writer.write(other, Buffer.from('!'))
      const whole = Buffer.from('hello, world!')
      assert.equal(writer.digest(), digestOf(whole))
      await writer.commit(other, {})
      const read = await readBlob(other, content, digestOf(whole), 100)
      assert.deepEqual(Buffer.from(read), whole)
      await rejectsWith('not_found', content.info(other, digest))
    })
  })

  void test('a shared upload can begin anew', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { content } }) => {
      await writeBlob(ctx, content, [hello], { ref: 'up', digest })
      const other = { ...ctx, namespace: 'other' }
      await using writer = await content.writer(other, { ref: 'up', expected: digest })
      await writer.truncate(other, 0)
      assert.equal(writer.status().offset, 0)
      await writer.write(other, hello)
      await writer.commit(other, { expected: digest })
      await content.info(other, digest)
    })
  })

  void test('an upload of a shared blob can be aborted', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { content } }) => {
      await writeBlob(ctx, content, [hello], { ref: 'up', digest })
      const other = { ...ctx, namespace: 'other' }
      {
        await using _writer = await content.writer(other, { ref: 'up', expected: digest })
      }
      assert.deepEqual(await content.listStatuses(other), [])
      await content.abort(other, 'up')
      await rejectsWith('not_found', content.abort(other, 'up'), 'reference up: not found')
    })
  })

  void test('uploads of one ref in two namespaces are two', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { content }, content: backend }) => {
      const other = { ...ctx, namespace: 'other' }
      await using one = await content.writer(ctx, { ref: 'up' })
      await using two = await content.writer(other, { ref: 'up' })
      await one.write(ctx, Buffer.from('one'))
      await two.write(ctx, Buffer.from('second'))
      assert.equal((await content.status(ctx, 'up')).offset, 3)
      assert.equal((await content.status(other, 'up')).offset, 6)
      const refs = (await backend.listStatuses(ctx)).map(({ ref }) => ref)
      assert.deepEqual(refs.toSorted(), ['other/1/up', 'testing/1/up'])
    })
  })

  void test('many blobs are listed in order, in parts', async (t) => {
    await withMetadata(t, async ({ ctx, metadata: { content } }) => {
      const digests: string[] = []
      for (let i = 0; i < 250; i++) {
        const bytes = Buffer.from(String(i))
        digests.push(digestOf(bytes))
        await writeBlob(ctx, content, [bytes], { ref: String(i), digest: digestOf(bytes) })
      }
      const listed = await Array.fromAsync(content.list(ctx), (info) => info.digest)
      assert.deepEqual(listed, digests.toSorted())
    })
  })
})
