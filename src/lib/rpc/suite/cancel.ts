import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { codeOf } from '#lib/errors/errors.ts'
import type { Call } from '#lib/rpc/rpc.ts'

import { type Value, allTexts, silence, text, textOf } from './service.ts'
import type { Impl, Serve, Supports } from './serving.ts'

/** Nobody waits for what nobody wants. */
export function cancelTests(serve: Serve, supports: Supports): void {
  const aborted = async ({ signal }: Call): Promise<never> => {
    if (!signal.aborted) await once(signal, 'abort')
    throw signal.reason
  }

  test('a client that gives up does not wait, and the server hears of it', async () => {
    const [started, reason] = [Promise.withResolvers<void>(), Promise.withResolvers<unknown>()]
    await using serving = await serve({
      unary: async (_, call) => {
        started.resolve()
        return await aborted(call).catch((err: unknown) => {
          reason.resolve(codeOf(err))
          throw err
        })
      },
    })
    const stop = new AbortController()
    const call = serving.client.unary({}, { signal: stop.signal })
    await started.promise
    stop.abort()
    await assert.rejects(call, { code: 'canceled' })
    if (supports.cancel) assert.equal(await reason.promise, 'canceled')
    await assert.rejects(serving.client.unary({}, { signal: stop.signal }), { code: 'canceled' })
  })

  test('a deadline ends the call on both sides', async () => {
    const seen = Promise.withResolvers<{ code: unknown; deadline: number | undefined }>()
    const impl: Impl = {
      unary: async (_, call) =>
        await aborted(call).catch((err: unknown) => {
          seen.resolve({ code: codeOf(err), deadline: call.deadline })
          throw err
        }),
      chat: async function* (requests) {
        for await (const request of requests) yield request
      },
    }
    await using serving = await serve(impl)
    const options = { timeoutMs: 30 }
    const began = Date.now()
    await assert.rejects(serving.client.unary({}, options), { code: 'deadline_exceeded' })
    const { code, deadline: at = 0 } = await seen.promise
    // The server counts from when the call arrives, so the client can give up just before it.
    assert.ok(at >= began + 29 && at <= Date.now() + 30, `${began} ${at}`)
    assert.ok(code === 'deadline_exceeded' || (supports.cancel && code === 'canceled'))
    const silent = serving.client.chat(silence(), options)
    await assert.rejects(allTexts(silent), { code: 'deadline_exceeded' })
    await assert.rejects(serving.client.unary({}, { timeoutMs: 0 }), { code: 'deadline_exceeded' })
  })

  test('leaving a stream early ends it', { skip: !supports.cancel }, async () => {
    const left = Promise.withResolvers<unknown>()
    await using serving = await serve({
      expand: async function* (_, call) {
        yield text('a')
        await aborted(call).catch((err: unknown) => left.resolve(codeOf(err)))
      },
      chat: async function* (requests, call) {
        yield text('a')
        await aborted(call).catch(() => {})
        await allTexts(requests).catch((err: unknown) => left.resolve(codeOf(err)))
      },
    })
    for await (const reply of serving.client.expand({})) {
      assert.equal(textOf(reply), 'a')
      break
    }
    assert.equal(await left.promise, 'canceled')
    const chat = serving.client.chat(silence())[Symbol.asyncIterator]()
    await chat.next()
    await chat.return?.()
    assert.equal((await chat.next()).done, true)
  })

  test('leaving many streams early costs nothing', { skip: !supports.flowControl }, async () => {
    await using serving = await serve({
      expand: async function* () {
        yield text('first')
        yield await Promise.resolve({ value: Buffer.alloc(8 << 20) })
      },
    })
    for (let n = 0; n < 70; n++) {
      for await (const reply of serving.client.expand({})) {
        assert.equal(textOf(reply), 'first')
        break
      }
    }
  })

  test('a slow reader holds back the writer', { skip: !supports.flowControl }, async () => {
    let sent = 0
    const [size, count] = [1 << 20, 64]
    await using serving = await serve({
      expand: async function* () {
        for (; sent < count; sent++) yield await Promise.resolve({ value: Buffer.alloc(size) })
      },
    })
    let received = 0
    for await (const _ of serving.client.expand({})) {
      if (received++ === 0) await sleep(300)
      assert.ok(sent - received < 32, `${sent} sent, ${received} received`)
    }
    assert.equal(received, count)
  })

  test('a slow method holds back its client', { skip: !supports.flowControl }, async () => {
    let [sent, received] = [0, 0]
    const [size, count] = [1 << 20, 64]
    await using serving = await serve({
      collect: async (requests) => {
        for await (const _ of requests) {
          if (received++ === 0) await sleep(300)
          assert.ok(sent - received < 32, `${sent} sent, ${received} received`)
        }
        return text(String(received))
      },
    })
    async function* source(): AsyncGenerator<Value> {
      for (; sent < count; sent++) yield await Promise.resolve({ value: Buffer.alloc(size) })
    }
    assert.equal(textOf(await serving.client.collect(source())), String(count))
  })
}
