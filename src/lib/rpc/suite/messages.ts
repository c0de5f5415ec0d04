import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { type Value, allTexts, text, textOf, texts } from './service.ts'
import { type Serve, echo } from './serving.ts'

/** Messages go through as they are. */
export function messageTests(serve: Serve): void {
  test('a method of each kind gives what its implementation gives', async () => {
    await using serving = await serve(echo)
    const { client } = serving
    assert.equal(textOf(await client.unary(text('a b'))), 'a b')
    assert.deepEqual(await allTexts(client.expand(text('a b c'))), ['a', 'b', 'c'])
    assert.equal(textOf(await client.collect(texts('a', 'b'))), 'a b')
    assert.deepEqual(await allTexts(client.chat(texts('a', 'b'))), ['a!', 'b!'])
  })

  test('an empty message is a message, and an empty stream is none', async () => {
    await using serving = await serve({
      ...echo,
      collect: async (requests) => text(String((await allTexts(requests)).length)),
      chat: (requests) => requests,
    })
    const { client } = serving
    assert.equal(textOf(await client.unary({})), '')
    assert.deepEqual(await allTexts(client.expand({})), [''])
    assert.equal(textOf(await client.collect(texts())), '0')
    assert.equal(textOf(await client.collect(texts('', ''))), '2')
    assert.deepEqual(await allTexts(client.chat(texts('', 'a', ''))), ['', 'a', ''])
    assert.deepEqual(await allTexts(client.chat(texts())), [])
  })

  test('each side of a conversation may wait for the other', async () => {
    await using serving = await serve(echo)
    const answered = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const
    async function* ask(): AsyncGenerator<Value> {
      yield text('one')
      await answered[0].promise
      yield text('two')
      await answered[1].promise
    }
    const heard: string[] = []
    for await (const reply of serving.client.chat(ask())) {
      heard.push(textOf(reply))
      answered[heard.length - 1]?.resolve()
    }
    assert.deepEqual(heard, ['one!', 'two!'])
  })

  test('a thousand calls at once each get their own answer', async () => {
    await using serving = await serve({
      ...echo,
      unary: async (request) => {
        await sleep(Math.random() * 5)
        return request
      },
    })
    const words = Array.from({ length: 1000 }, (_, n) => `word ${n}`)
    const replies = await Promise.all(words.map((word) => serving.client.unary(text(word))))
    assert.deepEqual(replies.map(textOf), words)
    assert.equal(serving.server.activeCalls, 0)
  })

  test('a method may answer without reading its requests', async () => {
    await using serving = await serve({
      collect: () => Promise.resolve(text('enough')),
      chat: () => texts('bye'),
    })
    assert.equal(textOf(await serving.client.collect(texts('a', 'b'))), 'enough')
    assert.deepEqual(await allTexts(serving.client.chat(texts('a', 'b'))), ['bye'])
    assert.equal(textOf(await serving.client.collect(texts())), 'enough')
  })

  test('a call carries its metadata, names in lower case', async () => {
    const options = { metadata: { 'Containerd-Namespace': 'k8s.io', other: 'two words' } }
    await using serving = await serve({
      unary: (_, { metadata, transport, method }) => {
        assert.equal(method.name, 'Unary')
        assert.ok(transport)
        return text(`${metadata.get('containerd-namespace')} ${metadata.get('other')}`)
      },
    })
    assert.equal(textOf(await serving.client.unary({}, options)), 'k8s.io two words')
  })
}
