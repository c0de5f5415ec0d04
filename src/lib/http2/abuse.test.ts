import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { mutate, seeded } from '#lib/rpc/suite/mutate.ts'

import { ErrorCode, Flag, FrameType, Setting, preface } from './protocol.ts'
import { RawPeer, echo, frame, good, listen, settings, uint32 } from './raw-peer.ts'

const calm = { by: 'goaway', code: ErrorCode.enhanceYourCalm } as const

/** Sends `piece` until the server has had enough; the answers are read all the while. */
async function flood(peer: RawPeer, piece: () => Buffer, most: number): Promise<void> {
  for (let sent = 0; sent < most && peer.socket.writable; sent += 1000) {
    const more = peer.socket.write(Buffer.concat(Array.from({ length: 1000 }, piece)))
    if (!more) await new Promise((resolve) => void setImmediate(resolve))
  }
}

suite('a client that asks for too much', { timeout: 60_000 }, () => {
  const floods: readonly (readonly [string, (peer: RawPeer) => () => Buffer])[] = [
    ['PING', () => () => frame(FrameType.ping, 0, 0, Buffer.alloc(8))],
    ['SETTINGS', () => () => settings([Setting.maxFrameSize, 16_384])],
    ['PRIORITY', () => () => frame(FrameType.priority, 0, 9, [0, 0, 0, 3, 7])],
    ['unknown frames', () => () => frame(0x55, 0, 0)],
    [
      'empty DATA',
      (peer) => {
        peer.send(peer.headers(1, 0))
        return () => frame(FrameType.data, 0, 1)
      },
    ],
    [
      'requests that are reset at once',
      (peer) => {
        let stream = -1
        return () => {
          stream += 2
          return Buffer.concat([
            peer.headers(stream, 0),
            frame(FrameType.rstStream, 0, stream, uint32(ErrorCode.cancel)),
          ])
        }
      },
    ],
    [
      'requests that we have to reset',
      (peer) => {
        let stream = -1
        return () => {
          stream += 2
          return Buffer.concat([
            peer.headers(stream, 0),
            frame(FrameType.windowUpdate, 0, stream, uint32(0)),
          ])
        }
      },
    ],
  ]
  for (const [what, make] of floods) {
    test(`a flood of ${what} is told to calm down`, async () => {
      await using server = await listen({ onStream: (stream) => void stream })
      await using other = await RawPeer.connect(server.path)
      await using peer = await RawPeer.connect(server.path)
      const flooding = flood(peer, make(peer), 100_000)
      for (;;) {
        const verdict = await peer.verdict()
        if (verdict?.by === 'reset') continue
        // The GOAWAY is lost when the socket closes on what it has not read.
        if (verdict) assert.deepEqual(verdict, calm)
        break
      }
      await flooding
      assert.match((await server.error).message, /too many/)
      assert.ok(await other.alive())
    })
  }

  test('a header block that never ends is cut', async () => {
    await using server = await listen({ onStream: echo })
    for (const size of [0, 1, 16_000]) {
      await using peer = await RawPeer.connect(server.path)
      peer.send(frame(FrameType.headers, 0, 1, peer.encoder.encode(good)))
      const piece = frame(FrameType.continuation, 0, 1, Buffer.alloc(size, 0x82))
      peer.send(...Array.from({ length: 300 }, () => piece))
      const verdict = await peer.verdict()
      if (verdict) assert.deepEqual(verdict, calm)
      else assert.match((await server.error).message, /too long/)
    }
  })

  test('a small block that unpacks to a large list is refused, and the connection goes on', async () => {
    await using server = await listen({ onStream: echo })
    await using peer = await RawPeer.connect(server.path)
    const field = peer.encoder.encode([...good, 'x-bomb', 'b'.repeat(1900)])
    const bomb = Buffer.concat([field, Buffer.alloc(16_000 - field.length, 0xbe)])
    peer.send(frame(FrameType.headers, Flag.endHeaders | Flag.endStream, 1, bomb))
    assert.deepEqual(await peer.verdict(), { by: 'reset', code: ErrorCode.frameSizeError })
    peer.send(peer.headers(3, Flag.endStream))
    const answer = await peer.find(FrameType.headers)
    assert.equal(answer?.stream, 3)
  })

  test('more streams than agreed are refused, and may be tried again', async () => {
    const held: (() => void)[] = []
    await using server = await listen({
      maxConcurrentStreams: 2,
      onStream: (stream) => {
        held.push(() => stream.sendHeaders([':status', '200'], [], true))
      },
    })
    await using peer = await RawPeer.connect(server.path)
    for (const stream of [1, 3, 5]) peer.send(peer.headers(stream, Flag.endStream))
    const refused = await peer.find(FrameType.rstStream)
    assert.deepEqual(
      [refused?.stream, refused?.payload.readUInt32BE()],
      [5, ErrorCode.refusedStream],
    )
    held.shift()?.()
    assert.equal((await peer.find(FrameType.headers))?.stream, 1)
    peer.send(peer.headers(7, Flag.endStream))
    assert.ok(await peer.alive())
    assert.equal(held.length, 2)
  })

  test('a client that reads nothing is not read from', async () => {
    let answered = 0
    await using server = await listen({
      onStream: (stream) => {
        answered++
        stream.sendHeaders([':status', '200'], ['x-large', 'x'.repeat(1000)], true)
      },
    })
    await using peer = await RawPeer.connect(server.path)
    assert.ok(await peer.alive())
    peer.socket.pause()
    const most = 20_000
    for (let n = 0; n < most; n++) peer.send(peer.headers(2 * n + 1, Flag.endStream))
    // Another connection's round trips: by then the server has done all it would.
    await using other = await RawPeer.connect(server.path)
    for (let n = 0; n < 100; n++) assert.ok(await other.alive())
    assert.ok(answered > 0 && answered < most / 2, `${answered} were answered`)
    peer.socket.resume()
    for (let n = 0; n < most; n++) assert.ok(await peer.find(FrameType.headers))
    assert.equal(answered, most)
  })

  test('a client that says nothing is let go', async () => {
    await using server = await listen({ onStream: echo, handshakeMs: 20 })
    await using peer = await RawPeer.connect(server.path, 'silence')
    peer.socket.resume()
    assert.equal((await peer.verdict())?.code, ErrorCode.settingsTimeout)
  })

  test('a client that has gone silent is asked, and let go when it does not answer', async () => {
    await using server = await listen({
      onStream: echo,
      keepAlive: { idleMs: 20, answerMs: 20 },
    })
    await using peer = await RawPeer.connect(server.path)
    const question = await peer.find(FrameType.ping)
    assert.equal(question?.flags, 0)
    peer.send(frame(FrameType.ping, Flag.ack, 0, question?.payload ?? []))
    assert.ok(await peer.find(FrameType.ping))
    assert.equal(await peer.find(FrameType.ping), undefined)
    assert.match((await server.error).message, /does not answer/)
  })

  test('damaged bytes do not bring it down', async () => {
    await using server = await listen({ onStream: echo })
    await using other = await RawPeer.connect(server.path)
    const random = seeded(9113)
    for (let round = 0; round < 400; round++) {
      await using peer = await RawPeer.connect(server.path, Buffer.alloc(0))
      const bytes = Buffer.concat([
        settings([Setting.initialWindowSize, 1 << 20]),
        peer.headers(1, 0, [...good, 'x-field', 'some value']),
        frame(FrameType.data, 0, 1, Buffer.alloc(100, 1)),
        frame(FrameType.windowUpdate, 0, 1, uint32(1000)),
        peer.headers(3, Flag.endStream, [...good, 'x-field', 'some value']),
        frame(FrameType.data, Flag.endStream, 1, Buffer.alloc(100, 1)),
        frame(FrameType.rstStream, 0, 3, uint32(8)),
        frame(FrameType.ping, 0, 0, Buffer.alloc(8)),
      ])
      peer.socket.end(mutate(bytes, random))
      while (await peer.next());
      if (round % 20 === 0) assert.ok(await other.alive())
    }
    assert.ok(await other.alive())
    assert.equal(server.connections.size, 1)
  })

  test('the preface alone costs nothing', async () => {
    await using server = await listen({ onStream: echo })
    await using peer = await RawPeer.connect(server.path, 'silence')
    peer.socket.end(preface)
    while (await peer.next());
    assert.equal(server.connections.size, 0)
  })
})
