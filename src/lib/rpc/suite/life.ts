import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { codeOf } from '#lib/errors/errors.ts'

import { allTexts, silence, text, textOf } from './service.ts'
import { type Serve, echo } from './serving.ts'

/** Connections and servers end without leaving anybody waiting. */
export function lifeTests(serve: Serve): void {
  test('a lost connection ends its calls on both sides', async () => {
    const [started, reason] = [Promise.withResolvers<void>(), Promise.withResolvers<unknown>()]
    await using serving = await serve({
      unary: async (_, { signal }) => {
        started.resolve()
        await once(signal, 'abort')
        reason.resolve(codeOf(signal.reason))
        throw signal.reason
      },
      chat: (requests) => requests,
    })
    const { client, connection } = serving
    const calls = [client.unary({}), allTexts(client.chat(silence()))]
    const rejected = calls.map((call) => assert.rejects(call, { code: 'unavailable' }))
    await started.promise
    assert.equal(connection.closed.aborted, false)
    await connection[Symbol.asyncDispose]()
    await Promise.all(rejected)
    assert.equal(codeOf(connection.closed.reason), 'unavailable')
    assert.equal(await reason.promise, 'canceled')
    await assert.rejects(client.unary({}), { code: 'unavailable' })
    await assert.rejects(allTexts(client.expand({})), { code: 'unavailable' })
  })

  test('a server that stops lets calls in flight finish', async () => {
    const [started, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    await using serving = await serve({
      unary: async (request) => {
        started.resolve()
        await go.promise
        return request
      },
    })
    const call = serving.client.unary(text('last words'))
    await started.promise
    assert.equal(serving.server.activeCalls, 1)
    const stopped = serving.server[Symbol.asyncDispose]()
    await sleep(20)
    go.resolve()
    assert.equal(textOf(await call), 'last words')
    await stopped
    await assert.rejects(serving.client.unary({}), { code: 'unavailable' })
  })

  test('a server that stops aborts the calls that outstay its patience', async () => {
    const started = Promise.withResolvers<void>()
    const impl = {
      unary: async (_: unknown, { signal }: { readonly signal: AbortSignal }): Promise<never> => {
        started.resolve()
        await once(signal, 'abort')
        throw signal.reason
      },
    }
    await using serving = await serve(impl, { stopMs: 20 })
    const call = serving.client.unary({})
    const rejected = assert.rejects(call, { code: 'canceled' })
    await started.promise
    await serving.server[Symbol.asyncDispose]()
    await rejected
    assert.equal(serving.server.activeCalls, 0)
  })

  test('a server stops although a method never returns', async () => {
    const started = Promise.withResolvers<void>()
    const impl = {
      unary: (): Promise<never> => {
        started.resolve()
        return new Promise(() => {})
      },
    }
    await using serving = await serve(impl, { stopMs: 20 })
    const rejected = assert.rejects(serving.client.unary({}), { code: 'unavailable' })
    await started.promise
    await serving.server[Symbol.asyncDispose]()
    await rejected
  })

  test('stopping twice, and stopping an idle server, is nothing special', async () => {
    await using serving = await serve(echo)
    await serving.client.unary({})
    await Promise.all([
      serving.server[Symbol.asyncDispose](),
      serving.server[Symbol.asyncDispose](),
    ])
    await serving.connection[Symbol.asyncDispose]()
    await serving.connection[Symbol.asyncDispose]()
  })
}
