import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempDisposable } from 'node:fs/promises'
import { type Server, type Socket, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { permissionDenied } from '#lib/errors/errors.ts'
import { type Call, type Peer, implement } from '#lib/rpc/rpc.ts'
import { fuzzServer } from '#lib/rpc/suite/fuzz.ts'
import { seeded } from '#lib/rpc/suite/mutate.ts'
import { Test, allTexts, silence, text, textOf, texts } from '#lib/rpc/suite/service.ts'
import { type Impl, echo } from '#lib/rpc/suite/serving.ts'
import { soak, soakMs } from '#testing/soak.ts'

import { connectTtrpc } from './client.ts'
import { decodeRequest, decodeResponse, encodeRequest, encodeResponse } from './envelope.ts'
import { type Frame, FrameReader, FrameType, maxDataBytes, toFrame } from './frame.ts'
import { type TtrpcServer, type TtrpcServerOptions, listenTtrpc, serveTtrpcOn } from './server.ts'

const options = (impl: Impl = echo): TtrpcServerOptions<Call> => ({
  services: [implement<Call, typeof Test>(Test, impl)],
  context: (call) => call,
  stopMs: 1000,
})

const listen = async (path: string): Promise<TtrpcServer> => await listenTtrpc({ path }, options())

interface RawClient extends AsyncDisposable {
  readonly socket: Socket
  readonly receive: () => Promise<Frame>
}

/** A client that sends what it likes. */
async function rawClient(impl?: Impl): Promise<RawClient> {
  await using scope = new AsyncDisposableStack()
  const dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'ttrpc-')))
  const path = join(dir.path, 'socket')
  scope.use(await listenTtrpc({ path }, options(impl)))
  const socket = connect({ path })
  scope.defer(() => void socket.destroy())
  const reader = new FrameReader(maxDataBytes)
  const frames: Frame[] = []
  socket.on('data', (chunk: Buffer) => frames.push(...reader.push(chunk)))
  const held = scope.move()
  return {
    socket,
    receive: async () => {
      while (frames.length === 0) await once(socket, 'data')
      const frame = frames.shift()
      assert.ok(frame)
      return frame
    },
    [Symbol.asyncDispose]: async () => await held.disposeAsync(),
  }
}

const metadata = new Map<string, string>()
const request = (method: string, payload?: Uint8Array): Uint8Array =>
  encodeRequest({ service: 'wharf.test.v1.Test', method, payload, metadata })
const packed = Buffer.from([0x0a, 1, 0x61])

suite('the ttrpc server and what a stranger may send', { timeout: soakMs(60_000) }, () => {
  const refused: readonly [string, Buffer, number, number, string][] = [
    [
      'an even stream',
      toFrame(2, 1, 0, request('Unary')),
      2,
      3,
      'StreamID must be odd for client initiated streams',
    ],
    ['data for no stream', toFrame(7, 3, 0, packed), 7, 3, 'StreamID is no longer active'],
    [
      'an unknown service',
      toFrame(1, 1, 0, encodeRequest({ service: 'a.B', method: 'C', metadata })),
      1,
      12,
      'unknown service a.B',
    ],
    [
      'an unknown method',
      toFrame(1, 1, 0, request('C')),
      1,
      12,
      'unknown method C for service wharf.test.v1.Test',
    ],
    [
      'a frame that is too long',
      Buffer.concat([toFrame(1, 1, 0, Buffer.alloc(maxDataBytes + 1))]),
      1,
      8,
      'message length 4194305 exceed maximum message size of 4194304',
    ],
  ]
  for (const [what, bytes, stream, code, message] of refused) {
    test(`${what} is refused, and the connection goes on`, async () => {
      await using client = await rawClient()
      client.socket.write(bytes)
      const answer = await client.receive()
      assert.equal(answer.stream, stream)
      assert.equal(answer.type, FrameType.response)
      assert.deepEqual(decodeResponse(answer.data).status, { code, message })
      client.socket.write(toFrame(9, 1, 0, request('Unary', packed)))
      const good = await client.receive()
      assert.equal(good.stream, 9)
      assert.deepEqual(Buffer.from(decodeResponse(good.data).payload ?? []), packed)
    })
  }

  test('a stream id is used once', async () => {
    await using client = await rawClient()
    client.socket.write(toFrame(5, 1, 0, request('Unary', packed)))
    assert.equal(decodeResponse((await client.receive()).data).status, undefined)
    client.socket.write(toFrame(3, 1, 0, request('Unary', packed)))
    assert.equal(decodeResponse((await client.receive()).data).status?.code, 3)
  })

  test('bytes that are no request are an invalid argument', async () => {
    await using client = await rawClient()
    client.socket.write(toFrame(1, 1, 0, Buffer.from([0x0a, 200])))
    const { status } = decodeResponse((await client.receive()).data)
    assert.equal(status?.code, 3)
    assert.match(status?.message ?? '', /^unmarshal request error: /)
  })

  test('a client that does not stream needs no flags, and no payload', async () => {
    await using client = await rawClient()
    client.socket.write(toFrame(1, 1, 0, request('Expand')))
    const reply = await client.receive()
    assert.deepEqual([reply.type, reply.flags, reply.data.length], [FrameType.data, 0, 0])
    const end = await client.receive()
    assert.deepEqual([end.type, end.flags, end.data.length], [FrameType.data, 5, 0])
  })

  test('the last message of a stream may close it', async () => {
    await using client = await rawClient()
    client.socket.write(toFrame(1, 1, 2, request('Collect')))
    client.socket.write(toFrame(1, 3, 0, packed))
    client.socket.write(toFrame(1, 3, 1, packed))
    const { payload } = decodeResponse((await client.receive()).data)
    assert.equal(Buffer.from(payload ?? []).toString('latin1'), '\n\u0003a a')
  })

  test('a method that does not read loses its stream, not the connection', async () => {
    const failed = Promise.withResolvers<unknown>()
    await using client = await rawClient({
      ...echo,
      collect: async (requests, { signal }) => {
        const iterator = requests[Symbol.asyncIterator]()
        await iterator.next()
        setTimeout(() => {
          const read = async (): Promise<void> => {
            while (!(await iterator.next()).done);
          }
          read().then(failed.resolve, failed.resolve)
        }, 1_500)
        await once(signal, 'abort')
        throw signal.reason
      },
    })
    client.socket.write(toFrame(1, 1, 2, request('Collect')))
    for (let n = 0; n < 200; n++) client.socket.write(toFrame(1, 3, 0, packed))
    client.socket.write(toFrame(3, 1, 0, request('Unary', packed)))
    assert.equal((await client.receive()).stream, 3)
    const err = await failed.promise
    assert.ok(err instanceof Error)
    assert.equal(err.message, 'ttrpc: stream buffer full')
  })

  test('a peer that is not allowed sees the end of the connection', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'ttrpc-'))
    const path = join(dir.path, 'socket')
    let peer: Peer = { uid: 1000, gid: 1000, pid: 1 }
    await using _ = await listenTtrpc(
      { path },
      {
        ...options({ unary: (_request, call) => text(String(call.peer?.uid)) }),
        peerOf: () => peer,
        authorize: (who) => {
          if (who?.uid !== 0) throw permissionDenied(`uid ${who?.uid}`)
        },
      },
    )
    await using refusedConnection = await connectTtrpc(path)
    await assert.rejects(refusedConnection.client(Test).unary(text('a')), { code: 'unavailable' })
    peer = { ...peer, uid: 0 }
    await using connection = await connectTtrpc(path)
    assert.equal(textOf(await connection.client(Test).unary(text('a'))), '0')
  })

  test('a connected socket can be served and spoken on', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'ttrpc-'))
    const path = join(dir.path, 'socket')
    const listener = createServer()
    listener.listen({ path })
    const accepted = once(listener, 'connection')
    await using connection = await connectTtrpc(connect({ path }))
    const [socket] = await accepted
    {
      await using server = serveTtrpcOn(socket, options())
      assert.deepEqual(await allTexts(connection.client(Test).chat(texts('a'))), ['a!'])
      assert.equal(server.connections, 1)
    }
    if (!connection.closed.aborted) await once(connection.closed, 'abort')
    listener.close()
    await once(listener, 'close')
  })

  test('a client that goes with answers unread does not keep it from stopping', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'ttrpc-'))
    const path = join(dir.path, 'socket')
    const called = Promise.withResolvers<void>()
    const long = 'a'.repeat(3 << 20)
    const server = await listenTtrpc(
      { path },
      options({
        unary: () => {
          called.resolve()
          return text(long)
        },
      }),
    )
    const socket = connect({ path })
    socket.on('error', () => undefined)
    socket.pause()
    socket.write(toFrame(1, 1, 0, request('Unary', packed)))
    await called.promise
    const stopped = server[Symbol.asyncDispose]()
    setTimeout(() => socket.destroy(), 100)
    await stopped
    assert.equal(server.connections, 0)
  })

  test('damaged bytes do not bring it down', { timeout: soakMs(60_000) }, async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'ttrpc-'))
    await soak('ttrpc-damage', 1, async ({ seed, count }) => {
      const rounds = 500
      await fuzzServer({ seed, rounds, dir: dir.path, listen, connect: connectTtrpc })
      count('damaged connections', rounds)
    })
  })
})

suite('the ttrpc client and what a stranger may answer', { timeout: 30_000 }, () => {
  test('answers that make no sense end a call or are ignored', async () => {
    const answers = [
      toFrame(99, 2, 0, Buffer.from('nobody asked')),
      toFrame(1, 9, 0, Buffer.from('of an unknown type')),
      toFrame(3, 2, 0, Buffer.from([0x0a, 200])),
      toFrame(5, 2, 0, encodeResponse({ payload: packed })),
    ]
    await using dir = await mkdtempDisposable(join(tmpdir(), 'ttrpc-'))
    const path = join(dir.path, 'socket')
    await using server = await answering(path, Buffer.concat(answers))
    assert.ok(server.listening)
    await using connection = await connectTtrpc(path)
    const client = connection.client(Test)
    const calls = [client.unary({}), client.unary({}), client.unary({})]
    const [first, second, third] = await Promise.allSettled(calls)
    assert.equal(first?.status, 'rejected')
    assert.equal(second?.status, 'rejected')
    assert.equal(third?.status === 'fulfilled' && textOf(third.value), 'a')
  })

  test('a deadline holds although nobody answers', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'ttrpc-'))
    const path = join(dir.path, 'socket')
    await using server = await answering(path, Buffer.alloc(0))
    assert.ok(server.listening)
    await using connection = await connectTtrpc(path)
    const client = connection.client(Test)
    await assert.rejects(client.unary({}, { timeoutMs: 20 }), { code: 'deadline_exceeded' })
    const chat = allTexts(client.chat(silence(), { timeoutMs: 20 }))
    await assert.rejects(chat, { code: 'deadline_exceeded' })
  })

  test('nobody listening is unavailable', async () => {
    await assert.rejects(connectTtrpc('unix:///nowhere/at/all'), { code: 'unavailable' })
  })
})

/** A server that says `bytes` when it is first spoken to, whatever it was told. */
async function answering(path: string, bytes: Buffer): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.write(bytes))
  })
  server.listen({ path })
  await once(server, 'listening')
  return server
}

suite('ttrpc frames', () => {
  test('a byte stream is cut into the same frames wherever its chunks end', () => {
    const random = seeded(7)
    const sizes = [0, 1, 9, 10, 11, 300, 70_000, 5]
    const bytes = Buffer.concat(sizes.map((size, n) => toFrame(n, 3, n, Buffer.alloc(size, n))))
    for (let round = 0; round < 50; round++) {
      const reader = new FrameReader(60_000)
      const frames: Frame[] = []
      for (let at = 0; at < bytes.length; ) {
        const end = at + 1 + Math.floor(random() * (round < 25 ? 20_000 : 400))
        frames.push(...reader.push(bytes.subarray(at, end)))
        at = end
      }
      assert.deepEqual(
        frames.map(({ stream, data, oversize }) => [stream, oversize ?? data.length]),
        sizes.map((size, n) => [n, size]),
      )
      for (const { stream, data } of frames) assert.ok(data.every((byte) => byte === stream))
    }
  })

  test('envelopes come back as they went', () => {
    const head = {
      service: 'a.B',
      method: 'C',
      payload: new Uint8Array([1, 2]),
      timeoutMs: 1500,
      metadata: new Map([['k', 'v']]),
    }
    assert.deepEqual(decodeRequest(encodeRequest(head)), head)
    assert.equal(decodeRequest(encodeRequest({ ...head, payload: undefined })).payload, undefined)
    const end = { status: { code: 5, message: 'x: not found' }, payload: undefined }
    assert.deepEqual(decodeResponse(encodeResponse(end)), end)
  })
})
