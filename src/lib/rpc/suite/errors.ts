import assert from 'node:assert/strict'
import { test } from 'node:test'

import { CodedError, type ErrorCode, codeOf, notFound } from '#lib/errors/errors.ts'
import type { Call } from '#lib/rpc/rpc.ts'

import { Stranger, type Value, allTexts, text, textOf, texts } from './service.ts'
import type { Impl, Serve } from './serving.ts'

const codes: readonly ErrorCode[] = [
  'aborted',
  'already_exists',
  'canceled',
  'data_loss',
  'deadline_exceeded',
  'failed_precondition',
  'internal',
  'invalid_argument',
  'not_found',
  'out_of_range',
  'permission_denied',
  'resource_exhausted',
  'unauthenticated',
  'unavailable',
  'unimplemented',
  'unknown',
]

/** Errors arrive as they were thrown. */
export function errorTests(serve: Serve): void {
  test('every code arrives with its message, whatever is in it', async () => {
    const message = 'image "grüße/日本語:🚢\n100%": 50%25'
    await using serving = await serve({
      unary: (request) => {
        const code = codes.find((known) => known === textOf(request))
        throw code ? new CodedError(code, message) : new Error('no such code')
      },
    })
    for (const code of codes) {
      await assert.rejects(serving.client.unary(text(code)), { name: 'CodedError', code, message })
    }
  })

  test('an error without a code is unknown, and the hook hears of it', async () => {
    const cause = new Error('EIO')
    const thrown = new Error('mount /x', { cause })
    const heard: unknown[] = []
    const onUnknownError = (err: unknown, call: Call): void => {
      heard.push(err, call.method.name)
    }
    const impl: Impl = { unary: () => Promise.reject(thrown) }
    await using serving = await serve(impl, { onUnknownError })
    const expected = { code: 'unknown', message: 'mount /x: EIO' }
    await assert.rejects(serving.client.unary({}), expected)
    assert.deepEqual(heard, [thrown, 'Unary'])
  })

  test('a wrapper adds its words and keeps the code; causes of a coded error stay here', async () => {
    const inner = notFound('image "x"', { cause: new Error('secret path') })
    await using serving = await serve({
      unary: () => Promise.reject(new Error('pull', { cause: inner })),
    })
    const expected = { code: 'not_found', message: 'pull: image "x": not found' }
    await assert.rejects(serving.client.unary({}), expected)
  })

  test('an error in a stream comes after the messages before it', async () => {
    await using serving = await serve({
      expand: async function* () {
        yield* texts('a', 'b')
        throw notFound('c')
      },
    })
    const heard: string[] = []
    const read = async (): Promise<void> => {
      for await (const reply of serving.client.expand({})) heard.push(textOf(reply))
    }
    await assert.rejects(read(), { code: 'not_found', message: 'c: not found' })
    assert.deepEqual(heard, ['a', 'b'])
  })

  test('an error ends a stream that has sent nothing, while the client still sends', async () => {
    const forever = Promise.withResolvers<never>()
    async function* wait(): AsyncGenerator<Value> {
      yield text('a')
      yield await forever.promise
    }
    await using serving = await serve({
      collect: () => Promise.reject(notFound('x')),
      chat: async function* (requests) {
        for await (const _ of requests) throw notFound('x')
        yield* texts()
      },
    })
    await assert.rejects(serving.client.collect(wait()), { code: 'not_found' })
    await assert.rejects(allTexts(serving.client.chat(wait())), { code: 'not_found' })
  })

  test('what is not implemented says what is missing', async () => {
    await using serving = await serve({})
    await assert.rejects(serving.client.unary({}), {
      code: 'unimplemented',
      message: 'unknown method Unary for service wharf.test.v1.Test',
    })
    await assert.rejects(allTexts(serving.connection.client(Stranger).chat(texts('a'))), {
      code: 'unimplemented',
      message: 'unknown service wharf.test.v1.Stranger',
    })
  })

  test('a source of requests that fails is what its caller gets', async () => {
    const requests = Promise.withResolvers<unknown>()
    await using serving = await serve({
      collect: async (source) => {
        const read = allTexts(source)
        requests.resolve(await read.then(() => 'end', codeOf))
        return text('')
      },
    })
    async function* failing(): AsyncGenerator<Value> {
      yield await Promise.resolve(text('a'))
      throw new Error('disk gone')
    }
    await assert.rejects(serving.client.collect(failing()), { message: 'disk gone' })
    assert.ok(['canceled', 'end'].includes(String(await requests.promise)))
  })
}
