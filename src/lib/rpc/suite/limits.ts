import assert from 'node:assert/strict'
import { test } from 'node:test'

import { allTexts, items, text, textOf, texts } from './service.ts'
import { type Impl, type Serve, type Supports, echo } from './serving.ts'

/** Nothing larger than agreed goes through. */
export function limitTests(serve: Serve, { maxBytes }: Supports): void {
  const envelope = 512
  const large = { value: Buffer.alloc(maxBytes - envelope, 7) }
  const tooLarge = { value: Buffer.alloc(maxBytes + 1) }

  test('a message of nearly the limit goes through both ways', async () => {
    await using serving = await serve({ ...echo, chat: (requests) => requests })
    assert.deepEqual(Buffer.from((await serving.client.unary(large)).value), large.value)
    const [reply] = await Array.fromAsync(serving.client.chat(items(large)))
    assert.equal(reply?.value.length, large.value.length)
  })

  test('a message over the limit is refused, and the connection goes on', async () => {
    const impl: Impl = { ...echo, collect: () => Promise.resolve(tooLarge) }
    await using serving = await serve(impl)
    const { client } = serving
    await assert.rejects(client.unary(tooLarge), { code: 'resource_exhausted' })
    await assert.rejects(client.collect(texts()), { code: 'resource_exhausted' })
    await assert.rejects(allTexts(client.chat(items(tooLarge))), {
      code: 'resource_exhausted',
    })
    assert.equal(textOf(await client.unary(text('a'))), 'a')
  })

  test('the limit of a server holds for what it receives', async () => {
    await using serving = await serve(echo, { maxReceiveBytes: 1000, maxSendBytes: 2000 })
    const { client } = serving
    const over = { value: Buffer.alloc(1500) }
    await assert.rejects(client.unary(over), { code: 'resource_exhausted', message: /1000/ })
    await assert.rejects(client.collect(items(over)), { code: 'resource_exhausted' })
    await assert.rejects(allTexts(client.expand(over)), { code: 'resource_exhausted' })
    assert.equal(textOf(await client.unary(text('a'))), 'a')
  })
}
