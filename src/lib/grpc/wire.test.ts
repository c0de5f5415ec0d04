import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempDisposable } from 'node:fs/promises'
import {
  type ClientHttp2Session,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
  connect as connectHttp2,
  constants,
  createServer,
} from 'node:http2'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { type Call, implement } from '#lib/rpc/rpc.ts'
import { fuzzServer } from '#lib/rpc/suite/fuzz.ts'
import { Test, text, textOf, texts } from '#lib/rpc/suite/service.ts'
import { type Impl, echo } from '#lib/rpc/suite/serving.ts'
import { soak, soakMs } from '#testing/soak.ts'

import { connectGrpc } from './client.ts'
import { decodeMessage, encodeMessage, formatTimeout, parseTimeout } from './headers.ts'
import { MessageReader, toFrame } from './messages.ts'
import { type GrpcServer, listenGrpc } from './server.ts'

const listen = async (path: string, impl: Impl = echo): Promise<GrpcServer> =>
  await listenGrpc(
    { path },
    { services: [implement<Call, typeof Test>(Test, impl)], context: (call) => call, stopMs: 1000 },
  )

interface Answer {
  readonly headers: IncomingHttpHeaders & { readonly ':status'?: number }
  readonly trailers: IncomingHttpHeaders
  readonly body: Buffer
}

interface RawClient extends AsyncDisposable {
  readonly session: ClientHttp2Session
  readonly send: (headers: OutgoingHttpHeaders, body?: Buffer) => Promise<Answer>
}

/** A client that sends what it likes. */
async function rawClient(impl: Impl = echo): Promise<RawClient> {
  await using scope = new AsyncDisposableStack()
  const dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'grpc-')))
  const path = join(dir.path, 'socket')
  scope.use(await listen(path, impl))
  const session = connectHttp2('http://localhost', { createConnection: () => connect({ path }) })
  scope.defer(() => session.destroy())
  const held = scope.move()
  return {
    session,
    send: async (headers, body = Buffer.alloc(0)) => {
      const stream = session.request({ ...call, ...headers }, { endStream: false })
      const chunks: Buffer[] = []
      let trailers: IncomingHttpHeaders = {}
      stream.on('trailers', (received) => {
        trailers = received
      })
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.end(body)
      const answered = Promise.withResolvers<Answer['headers']>()
      stream.on('response', answered.resolve)
      await once(stream, 'close')
      return { headers: await answered.promise, trailers, body: Buffer.concat(chunks) }
    },
    [Symbol.asyncDispose]: async () => await held.disposeAsync(),
  }
}

const call = {
  ':method': 'POST',
  ':path': '/wharf.test.v1.Test/Unary',
  'content-type': 'application/grpc',
  te: 'trailers',
}
const packed = Buffer.from([0x0a, 1, 0x61])

suite('the gRPC server and what a stranger may send', { timeout: soakMs(60_000) }, () => {
  const refused: readonly [string, OutgoingHttpHeaders, Buffer, number, string, string][] = [
    [
      'another content type',
      { 'content-type': 'text/html' },
      toFrame(packed),
      415,
      '3',
      'invalid gRPC request content-type "text/html"',
    ],
    [
      'a content type that only begins alike',
      { 'content-type': 'application/grpcx' },
      toFrame(packed),
      415,
      '3',
      'invalid gRPC request content-type "application/grpcx"',
    ],
    [
      'another verb',
      { ':method': 'PUT' },
      toFrame(packed),
      405,
      '13',
      'Received a HEADERS frame with :method "PUT" which should be POST',
    ],
    [
      'a deadline that is none',
      { 'grpc-timeout': '1x' },
      toFrame(packed),
      400,
      '13',
      'malformed grpc-timeout: "1x"',
    ],
    [
      'compression',
      { 'grpc-encoding': 'gzip' },
      toFrame(packed),
      200,
      '12',
      'grpc: Decompressor is not installed for grpc-encoding "gzip"',
    ],
    [
      'a path without a method',
      { ':path': '/x' },
      toFrame(packed),
      200,
      '12',
      'malformed method name: "/x"',
    ],
    [
      'an unknown service',
      { ':path': '/a.B/C' },
      toFrame(packed),
      200,
      '12',
      'unknown service a.B',
    ],
    [
      'an unknown method',
      { ':path': '/wharf.test.v1.Test/C' },
      toFrame(packed),
      200,
      '12',
      'unknown method C for service wharf.test.v1.Test',
    ],
    [
      'a message flagged as compressed',
      {},
      Buffer.from([1, 0, 0, 0, 0]),
      200,
      '13',
      'grpc: compressed flag set with identity or empty encoding',
    ],
    ['half a message', {}, toFrame(packed).subarray(0, 6), 200, '13', 'unexpected EOF'],
    ['half a prefix', {}, Buffer.from([0, 0]), 200, '13', 'unexpected EOF'],
    ['no message', {}, Buffer.alloc(0), 200, '13', 'unexpected EOF'],
    [
      'two messages',
      {},
      Buffer.concat([toFrame(packed), toFrame(packed)]),
      200,
      '13',
      'more than one request message',
    ],
    [
      'half a message in a stream',
      { ':path': '/wharf.test.v1.Test/Collect' },
      toFrame(packed).subarray(0, 6),
      200,
      '13',
      'unexpected EOF',
    ],
    [
      'a length over the limit',
      {},
      Buffer.from([0, 255, 255, 255, 255]),
      200,
      '8',
      'grpc: received message larger than max (4294967295 vs. 16777216)',
    ],
  ]
  for (const [what, headers, body, http, code, message] of refused) {
    test(`${what} is refused`, async () => {
      await using client = await rawClient()
      const answer = await client.send(headers, body)
      assert.equal(answer.headers[':status'], http)
      assert.equal(answer.headers['grpc-status'], code)
      assert.equal(answer.headers['grpc-message'], message)
      assert.equal(answer.headers['content-type'], 'application/grpc')
      const good = await client.send({}, toFrame(packed))
      assert.equal(good.trailers['grpc-status'], '0')
    })
  }

  test('bytes that are no message are an internal error', async () => {
    await using client = await rawClient()
    const { headers } = await client.send({}, toFrame(Buffer.from([0x0a, 200])))
    assert.equal(headers['grpc-status'], '13')
    assert.match(String(headers['grpc-message']), /^grpc: error unmarshalling request: /)
  })

  test('content type and metadata of other clients are understood', async () => {
    await using client = await rawClient()
    const { headers, trailers, body } = await client.send(
      {
        'content-type': 'application/grpc+proto',
        'grpc-encoding': 'identity',
        'grpc-timeout': '5S',
        'x-many': ['a', 'b'],
      },
      toFrame(packed),
    )
    assert.equal(headers['grpc-accept-encoding'], 'identity')
    assert.equal(trailers['grpc-status'], '0')
    assert.deepEqual(body, toFrame(packed))
  })

  test('a message may come in pieces of any size', async () => {
    await using client = await rawClient()
    const stream = client.session.request(call, { endStream: false })
    const body = toFrame(Buffer.from([0x0a, 100, ...Buffer.alloc(100, 97)]))
    for (const byte of body) stream.write(Buffer.of(byte))
    stream.end()
    assert.deepEqual(Buffer.concat(await Array.fromAsync(stream)), body)
  })

  test('pings are answered', async () => {
    await using client = await rawClient()
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    await once(client.session, 'connect')
    client.session.ping(Buffer.from('12345678'), (err, _, payload) => {
      if (err) reject(err)
      else resolve(Buffer.from(payload))
    })
    assert.equal((await promise).toString(), '12345678')
  })

  test('damaged bytes do not bring it down', { timeout: soakMs(60_000) }, async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'grpc-'))
    await soak('grpc-damage', 1, async ({ seed, count }) => {
      const rounds = 300
      await fuzzServer({ seed, rounds, dir: dir.path, listen, connect: connectGrpc })
      count('damaged connections', rounds)
    })
  })
})

suite('the gRPC client and what a stranger may answer', { timeout: 30_000 }, () => {
  type Answerer = (stream: ServerHttp2Stream) => void
  const strangers: readonly [string, Answerer, object][] = [
    [
      'an HTTP error',
      (stream) => stream.respond({ ':status': 503 }, { endStream: true }),
      { code: 'unavailable', message: /503/ },
    ],
    [
      'no status',
      (stream) => stream.respond({ ':status': 200 }, { endStream: true }),
      { code: 'internal' },
    ],
    [
      'a reset',
      (stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM),
      { code: 'unavailable' },
    ],
    [
      'a calm-down',
      (stream) => stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM),
      { code: 'resource_exhausted' },
    ],
    [
      'a status that is no number',
      (stream) => stream.respond({ ':status': 200, 'grpc-status': 'x' }, { endStream: true }),
      { code: 'unknown' },
    ],
    [
      'success without a message',
      (stream) => stream.respond({ ':status': 200, 'grpc-status': '0' }, { endStream: true }),
      { code: 'internal' },
    ],
    ['a lost connection', (stream) => stream.session?.destroy(), { code: 'unavailable' }],
  ]
  for (const [what, answer, expected] of strangers) {
    test(`${what} is an error that says so`, async () => {
      await using server = createServer()
      server.on('stream', (stream: ServerHttp2Stream) => {
        stream.on('error', () => {})
        answer(stream)
      })
      server.listen({ host: '127.0.0.1', port: 0 })
      await once(server, 'listening')
      const address = server.address()
      assert.ok(typeof address === 'object' && address)
      await using connection = await connectGrpc(`127.0.0.1:${address.port}`)
      const client = connection.client(Test)
      await assert.rejects(client.unary(text('a')), expected)
      if (connection.closed.aborted) return
      await assert.rejects(client.collect(texts('a')), expected)
    })
  }

  test('nobody listening is unavailable, and a signal ends the wait', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'grpc-'))
    const target = `unix://${join(dir.path, 'none')}`
    await assert.rejects(connectGrpc(target), { code: 'unavailable', message: /ENOENT/ })
    const reason = new Error('no longer')
    await assert.rejects(connectGrpc(target, { signal: AbortSignal.abort(reason) }), reason)
  })
})

suite('the header values of gRPC', () => {
  test('messages survive any text', () => {
    for (const message of ['', 'plain', '100%', 'a\nb', 'grüße 日本語 🚢', '%zz %41']) {
      assert.equal(decodeMessage(encodeMessage(message)), message)
      assert.match(encodeMessage(message), /^[ -~]*$/)
    }
    assert.equal(decodeMessage('100%'), '100%')
    assert.equal(encodeMessage('ü%'), '%C3%BC%25')
  })

  test('deadlines keep to eight digits and never come early', () => {
    for (const ms of [0.2, 1, 999, 99_999_999, 1e9, 1e12, 1e18]) {
      const parsed = parseTimeout(formatTimeout(ms)) ?? 0
      assert.ok(parsed >= Math.min(ms, 99_999_999 * 3_600_000), String(ms))
    }
    assert.equal(parseTimeout('10S'), 10_000)
    assert.equal(parseTimeout('250000u'), 250)
    for (const bad of ['', '1', 'S', '123456789S', '1s', '-1S'])
      assert.equal(parseTimeout(bad), undefined)
  })

  test('a body is cut into the same messages wherever its chunks end', () => {
    const messages = ['', 'a', 'bb', 'x'.repeat(300)].map((body) => Buffer.from(body))
    const body = Buffer.concat(messages.map(toFrame))
    for (const size of [1, 2, 3, 5, 7, 64, body.length]) {
      const reader = new MessageReader(1000)
      const got: string[] = []
      for (let at = 0; at < body.length; at += size) {
        for (const message of reader.push(body.subarray(at, at + size)))
          got.push(textOf({ value: message }))
      }
      assert.deepEqual(got, messages.map(String))
      assert.equal(reader.inMessage, false)
    }
  })
})
