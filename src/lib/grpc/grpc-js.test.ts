import assert from 'node:assert/strict'
import { type EventEmitter, once } from 'node:events'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import {
  type ChannelCredentials,
  Client,
  Metadata,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServiceError,
  type UntypedServiceImplementation,
  credentials,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  status,
} from '@grpc/grpc-js'

import { CodedError, codeOf } from '#lib/errors/errors.ts'
import { type Call, type ServiceImpl, implement } from '#lib/rpc/rpc.ts'
import { Test, allTexts, items, text, textOf, texts } from '#lib/rpc/suite/service.ts'

import { connectGrpc } from './client.ts'
import { listenGrpc } from './server.ts'

/*
 * grpc-js is the judge here. Its messages are kept as bytes: field 1 of BytesValue, by hand.
 */
const identity = (bytes: Buffer): Buffer => bytes
const definition = (
  name: string,
  requestStream: boolean,
  responseStream: boolean,
): MethodDefinition<Buffer, Buffer> => ({
  path: `/wharf.test.v1.Test/${name}`,
  requestStream,
  responseStream,
  requestSerialize: identity,
  requestDeserialize: identity,
  responseSerialize: identity,
  responseDeserialize: identity,
})
const methods = {
  unary: definition('Unary', false, false),
  expand: definition('Expand', false, true),
  collect: definition('Collect', true, false),
  chat: definition('Chat', true, true),
}

const pack = (value: string): Buffer => {
  const bytes = Buffer.from(value)
  assert.ok(bytes.length < 128)
  return bytes.length === 0 ? bytes : Buffer.from([0x0a, bytes.length, ...bytes])
}
const unpack = (bytes: Buffer): string => bytes.subarray(2).toString()

type Impl = ServiceImpl<typeof Test, Call>

const message = 'snapshot "日本語" not found: 100% 🚢\n'

const impl: Impl = {
  unary: (request, call) => {
    if (textOf(request) === 'fail') throw new CodedError('not_found', message)
    if (textOf(request) === 'metadata') return text(call.metadata.get('x-test') ?? 'none')
    return request
  },
  expand: async function* (request) {
    yield* texts(...textOf(request).split(' '))
    if (textOf(request) === 'fail') throw new CodedError('aborted', message)
  },
  collect: async (requests) => text((await allTexts(requests)).join(' ')),
  chat: async function* (requests) {
    for await (const request of requests) yield text(`${textOf(request)}!`)
  },
}

async function serve(given: Impl = impl): Promise<Served> {
  const dir = await mkdtempDisposable(join(tmpdir(), 'grpc-js-'))
  const path = join(dir.path, 'socket')
  const context = (call: Call): Call => call
  const services = [implement<Call, typeof Test>(Test, given)]
  const server = await listenGrpc({ path }, { services, context, stopMs: 500 })
  const insecure: ChannelCredentials = credentials.createInsecure()
  const limit = 32 * 1024 * 1024
  const client = new Client(`unix:${path}`, insecure, {
    'grpc.max_receive_message_length': limit,
    'grpc.max_send_message_length': limit,
  })
  return {
    client,
    async [Symbol.asyncDispose]() {
      client.close()
      await server[Symbol.asyncDispose]()
      await dir[Symbol.asyncDispose]()
    },
  }
}

/** The error that ends a call. */
async function errorOf(call: EventEmitter): Promise<ServiceError> {
  const { promise, resolve } = Promise.withResolvers<ServiceError>()
  call.once('error', resolve)
  return await promise
}

interface Served extends AsyncDisposable {
  readonly client: Client
}

async function callUnary(
  client: Client,
  request: Buffer,
  options: { deadline?: number; metadata?: Metadata } = {},
): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const { path, requestSerialize, responseDeserialize } = methods.unary
  const { metadata = new Metadata(), ...rest } = options
  client.makeUnaryRequest(
    path,
    requestSerialize,
    responseDeserialize,
    request,
    metadata,
    rest,
    (err, reply) => {
      if (err) reject(err)
      else resolve(reply ?? Buffer.alloc(0))
    },
  )
  return await promise
}

suite('a grpc-js client of our server', { timeout: 30_000 }, () => {
  test('calls methods of all four kinds', async () => {
    await using served = await serve()
    const { client } = served
    assert.equal(unpack(await callUnary(client, pack('hello'))), 'hello')
    const { path: expand } = methods.expand
    const replies = client.makeServerStreamRequest(expand, identity, identity, pack('a b c'))
    assert.deepEqual(await Array.fromAsync(replies, unpack), ['a', 'b', 'c'])
    const collected = Promise.withResolvers<Buffer | undefined>()
    const writable = client.makeClientStreamRequest(
      methods.collect.path,
      identity,
      identity,
      (err, reply) => {
        if (err) collected.reject(err)
        else collected.resolve(reply)
      },
    )
    writable.write(pack('a'))
    writable.end(pack('b'))
    assert.equal(unpack((await collected.promise) ?? Buffer.alloc(0)), 'a b')
    const chat = client.makeBidiStreamRequest(methods.chat.path, identity, identity)
    chat.write(pack('a'))
    chat.end(pack('b'))
    assert.deepEqual(await Array.fromAsync(chat, unpack), ['a!', 'b!'])
  })

  test('gets errors with their code and their unicode message', async () => {
    await using served = await serve()
    const { client } = served
    await assert.rejects(callUnary(client, pack('fail')), {
      code: status.NOT_FOUND,
      details: message,
    })
    const replies = client.makeServerStreamRequest(
      methods.expand.path,
      identity,
      identity,
      pack('fail'),
    )
    const heard: string[] = []
    replies.on('data', (reply: Buffer) => heard.push(unpack(reply)))
    const err = await errorOf(replies)
    assert.equal(err.code, status.ABORTED)
    assert.equal(err.details, message)
    assert.deepEqual(heard, ['fail'])
    const unknown = client.makeServerStreamRequest(
      '/wharf.test.v1.Nobody/X',
      identity,
      identity,
      pack(''),
    )
    unknown.resume()
    const missing = await errorOf(unknown)
    assert.equal(missing.code, status.UNIMPLEMENTED)
    assert.equal(missing.details, 'unknown service wharf.test.v1.Nobody')
  })

  test('sends metadata, deadlines and cancellation that the method sees', async () => {
    const reasons: unknown[] = []
    const gone = Promise.withResolvers<void>()
    await using served = await serve({
      ...impl,
      expand: async function* (_, { signal }) {
        yield await Promise.resolve(text('a'))
        await once(signal, 'abort')
        reasons.push(codeOf(signal.reason))
        if (reasons.length === 2) gone.resolve()
        throw signal.reason
      },
    })
    const { client } = served
    const metadata = new Metadata()
    // Go's clients put what is new before what they had: BuildKit names two leases so.
    metadata.add('x-test', 'new')
    metadata.add('x-test', 'old')
    assert.equal(unpack(await callUnary(client, pack('metadata'), { metadata })), 'new')
    const { path } = methods.expand
    const canceled = client.makeServerStreamRequest(path, identity, identity, pack(''))
    canceled.once('data', () => canceled.cancel())
    const err = await errorOf(canceled)
    assert.equal(err.code, status.CANCELLED)
    const late = client.makeServerStreamRequest(path, identity, identity, pack(''), {
      deadline: Date.now() + 100,
    })
    late.resume()
    const timeout = await errorOf(late)
    assert.equal(timeout.code, status.DEADLINE_EXCEEDED)
    await gone.promise
    assert.equal(reasons[0], 'canceled')
  })

  test('is told of a message over 16 MiB, and may go on', async () => {
    await using served = await serve()
    const size = 16 * 1024 * 1024
    const details = `grpc: received message larger than max (${size + 1} vs. ${size})`
    await assert.rejects(callUnary(served.client, Buffer.alloc(size + 1)), {
      code: status.RESOURCE_EXHAUSTED,
      details,
    })
    assert.equal(unpack(await callUnary(served.client, pack('a'))), 'a')
  })

  test('is told of an error while it is still sending much', async () => {
    await using served = await serve({
      collect: () => Promise.reject(new CodedError('unavailable', 'not now')),
    })
    const answered = Promise.withResolvers<ServiceError | null>()
    const writable = served.client.makeClientStreamRequest(
      methods.collect.path,
      identity,
      identity,
      (err) => {
        answered.resolve(err)
      },
    )
    for (let n = 0; n < 8; n++) writable.write(Buffer.alloc(1 << 20))
    assert.equal((await answered.promise)?.code, status.UNAVAILABLE)
    writable.end()
  })
})

async function serveTheirs(given: Theirs): Promise<{ target: string } & AsyncDisposable> {
  const server = new Server()
  server.addService(methods, given)
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (err, port) => {
    if (err) reject(err)
    else resolve(port)
  })
  const target = `127.0.0.1:${await promise}`
  return {
    target,
    [Symbol.asyncDispose]: async () => {
      server.forceShutdown()
      await Promise.resolve()
    },
  }
}

interface Theirs extends UntypedServiceImplementation {
  readonly unary: handleUnaryCall<Buffer, Buffer>
  readonly expand: handleServerStreamingCall<Buffer, Buffer>
  readonly collect: handleClientStreamingCall<Buffer, Buffer>
  readonly chat: handleBidiStreamingCall<Buffer, Buffer>
}

const theirs: Theirs = {
  unary: (call, callback) => {
    const request = unpack(call.request)
    if (request === 'fail') callback({ code: status.NOT_FOUND, details: message })
    else if (request === 'metadata') callback(null, pack(String(call.metadata.get('x-test'))))
    else if (request === 'wait') call.on('cancelled', () => callback({ code: status.CANCELLED }))
    else callback(null, call.request)
  },
  expand: (call) => {
    for (const word of unpack(call.request).split(' ')) call.write(pack(word))
    call.end()
  },
  collect: (call, callback) => {
    const words: string[] = []
    call.on('data', (request: Buffer) => words.push(unpack(request)))
    call.on('end', () => callback(null, pack(words.join(' '))))
  },
  chat: (call) => {
    call.on('data', (request: Buffer) => call.write(pack(`${unpack(request)}!`)))
    call.on('end', () => call.end())
  },
}

suite('our client of a grpc-js server', { timeout: 30_000 }, () => {
  test('calls methods of all four kinds', async () => {
    await using server = await serveTheirs(theirs)
    await using connection = await connectGrpc(server.target)
    const client = connection.client(Test)
    assert.equal(textOf(await client.unary(text('hello'))), 'hello')
    assert.deepEqual(await allTexts(client.expand(text('a b c'))), ['a', 'b', 'c'])
    assert.equal(textOf(await client.collect(texts('a', 'b'))), 'a b')
    assert.deepEqual(await allTexts(client.chat(texts('a', 'b'))), ['a!', 'b!'])
  })

  test('gets errors, sends metadata, obeys deadlines and signals', async () => {
    await using server = await serveTheirs(theirs)
    await using connection = await connectGrpc(server.target)
    const client = connection.client(Test)
    await assert.rejects(client.unary(text('fail')), { code: 'not_found', message })
    const options = { metadata: { 'x-test': 'one' } }
    assert.equal(textOf(await client.unary(text('metadata'), options)), 'one')
    await assert.rejects(client.unary(text('wait'), { timeoutMs: 50 }), {
      code: 'deadline_exceeded',
    })
    const signal = AbortSignal.timeout(50)
    await assert.rejects(client.unary(text('wait'), { signal }), { code: 'deadline_exceeded' })
  })

  test('refuses to send or to take more than 16 MiB', async () => {
    const large = Buffer.alloc(17 * 1024 * 1024)
    await using server = await serveTheirs({
      ...theirs,
      unary: (_, callback) => callback(null, large),
    })
    await using connection = await connectGrpc(server.target)
    const client = connection.client(Test)
    await assert.rejects(client.unary(text('a')), { code: 'resource_exhausted' })
    await assert.rejects(client.unary({ value: large }), { code: 'resource_exhausted' })
    await assert.rejects(client.collect(items({ value: large })), { code: 'resource_exhausted' })
    assert.equal(textOf(await client.collect(texts('a', 'b'))), 'a b')
  })
})
