import assert from 'node:assert/strict'
import { test } from 'node:test'

import { failedPrecondition, notFound, permissionDenied } from '#lib/errors/errors.ts'
import type { Call, Interceptor } from '#lib/rpc/rpc.ts'

import { allTexts, text, textOf, texts } from './service.ts'
import { type Serve, echo } from './serving.ts'

/** What stands around every call. */
export function interceptorTests(serve: Serve): void {
  test('interceptors stand around a call of any kind, outermost first', async () => {
    const log: string[] = []
    const note =
      (name: string): Interceptor<Call> =>
      async (call, ctx, next) => {
        log.push(`${name} before ${call.method.name}`)
        const result = await next(ctx)
        log.push(`${name} after`)
        return result
      }
    await using serving = await serve(echo, { interceptors: [note('a'), note('b')] })
    const { client } = serving
    assert.equal(textOf(await client.unary(text('x'))), 'x')
    const around = (method: string): string[] => [
      `a before ${method}`,
      `b before ${method}`,
      'b after',
      'a after',
    ]
    assert.deepEqual(log.splice(0), around('Unary'))
    assert.deepEqual(await allTexts(client.expand(text('x y'))), ['x', 'y'])
    assert.deepEqual(log.splice(0), around('Expand'))
    assert.equal(textOf(await client.collect(texts('x'))), 'x')
    assert.deepEqual(await allTexts(client.chat(texts('x'))), ['x!'])
  })

  test('an interceptor may answer, refuse, or see how a call failed', async () => {
    const seen: unknown[] = []
    const interceptor: Interceptor<Call> = async (call, ctx, next) => {
      if (call.metadata.get('answer')) return text('from the interceptor')
      if (call.metadata.get('refuse')) throw permissionDenied('not you')
      try {
        return await next(ctx)
      } catch (err) {
        seen.push(err)
        throw err
      }
    }
    const err = notFound('x')
    const impl = { unary: () => Promise.reject(err) }
    await using serving = await serve(impl, { interceptors: [interceptor] })
    const { client } = serving
    const answered = await client.unary({}, { metadata: { answer: 'yes' } })
    assert.equal(textOf(answered), 'from the interceptor')
    await assert.rejects(client.unary({}, { metadata: { refuse: 'yes' } }), {
      code: 'permission_denied',
    })
    await assert.rejects(client.unary({}), { code: 'not_found' })
    assert.deepEqual(seen, [err])
  })

  test('an interceptor sees what the client sent, and may hand on another', async () => {
    const seen: string[] = []
    async function* noted(requests: AsyncIterable<unknown>): AsyncGenerator {
      for await (const request of requests) {
        seen.push('streamed')
        yield request
      }
    }
    const interceptor: Interceptor<Call> = (call, ctx, next, input) => {
      if (isAsyncIterable(input)) return next(ctx, noted(input))
      seen.push(call.method.name)
      return next(ctx, text('another'))
    }
    await using serving = await serve(echo, { interceptors: [interceptor] })
    const { client } = serving
    assert.equal(textOf(await client.unary(text('x'))), 'another')
    assert.deepEqual(await allTexts(client.chat(texts('a', 'b'))), ['a!', 'b!'])
    assert.deepEqual(seen, ['Unary', 'streamed', 'streamed'])
  })

  test('a context that cannot be made refuses the call', async () => {
    const context = (): never => {
      throw failedPrecondition('namespace is required')
    }
    await using serving = await serve(echo, { context })
    const expected = {
      code: 'failed_precondition',
      message: 'namespace is required: failed precondition',
    }
    await assert.rejects(serving.client.unary({}), expected)
    await assert.rejects(allTexts(serving.client.expand({})), expected)
    await assert.rejects(serving.client.collect(texts('a')), expected)
    await assert.rejects(allTexts(serving.client.chat(texts('a'))), expected)
  })
}

const isAsyncIterable = (value: unknown): value is AsyncIterable<unknown> =>
  typeof value === 'object' && value !== null && Symbol.asyncIterator in value
