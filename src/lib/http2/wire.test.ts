import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { ErrorCode, Flag, FrameType, Setting, preface } from './protocol.ts'
import { RawPeer, echo, frame, good, listen, nameOf, settings, uint32 } from './raw-peer.ts'

const { data, headers, priority, rstStream, ping, goaway, windowUpdate, continuation } = FrameType
const { endStream, endHeaders, padded } = Flag
const nothing = Buffer.alloc(0)

/** What a peer sends, and how it is told off. */
type Case = readonly [
  what: string,
  send: (peer: RawPeer) => readonly Buffer[],
  by: 'goaway' | 'reset',
  code: keyof typeof ErrorCode,
]

const open = (peer: RawPeer): Buffer => peer.headers(1, 0)
const whole = (peer: RawPeer): Buffer => peer.headers(1, endStream)
const with_ = (peer: RawPeer, ...fields: readonly string[]): Buffer[] => [
  peer.headers(1, endStream, [...good, ...fields]),
]
const block = (peer: RawPeer): Buffer => peer.encoder.encode(good)

/* Named by the sections of RFC 9113. */
const violations: readonly Case[] = [
  [
    '4.2: a frame above the limit',
    () => [frame(data, 0, 1, Buffer.alloc(16_385))],
    'goaway',
    'frameSizeError',
  ],
  [
    '4.3: a header block that cannot be decoded',
    () => [frame(headers, endStream | endHeaders, 1, [0x80])],
    'goaway',
    'compressionError',
  ],
  [
    '4.3: another frame inside of a header block',
    (peer) => [frame(headers, 0, 1, block(peer)), frame(data, 0, 1, [1])],
    'goaway',
    'protocolError',
  ],
  [
    '4.3: another stream inside of a header block',
    (peer) => [frame(headers, 0, 1, block(peer)), peer.headers(3, 0)],
    'goaway',
    'protocolError',
  ],
  ['5.1: DATA on an idle stream', () => [frame(data, 0, 1, [1])], 'goaway', 'protocolError'],
  [
    '5.1: RST_STREAM on an idle stream',
    () => [frame(rstStream, 0, 1, uint32(8))],
    'goaway',
    'protocolError',
  ],
  [
    '5.1: WINDOW_UPDATE on an idle stream',
    () => [frame(windowUpdate, 0, 1, uint32(8))],
    'goaway',
    'protocolError',
  ],
  [
    '5.1: CONTINUATION on an idle stream',
    () => [frame(continuation, 4, 1, [0x82])],
    'goaway',
    'protocolError',
  ],
  [
    '5.1: DATA behind the end',
    (peer) => [peer.headers(1, 0), frame(data, endStream, 1, [1]), frame(data, endStream, 1, [1])],
    'reset',
    'streamClosed',
  ],
  ['5.1: HEADERS behind the end', (peer) => [whole(peer), whole(peer)], 'reset', 'streamClosed'],
  [
    '5.1: DATA behind a reset',
    (peer) => [open(peer), frame(rstStream, 0, 1, uint32(8)), frame(data, 0, 1, [1])],
    'reset',
    'streamClosed',
  ],
  ['5.1.1: an even stream', (peer) => [peer.headers(2, endStream)], 'goaway', 'protocolError'],
  [
    '5.1.1: a stream below the last',
    (peer) => [peer.headers(5, 0), peer.headers(3, 0)],
    'goaway',
    'protocolError',
  ],
  ['6.1: DATA on stream 0', () => [frame(data, 0, 0, [1])], 'goaway', 'protocolError'],
  [
    '6.1: DATA with too much padding',
    (peer) => [open(peer), frame(data, padded, 1, [5, 0, 0, 0])],
    'goaway',
    'protocolError',
  ],
  [
    '6.1: padded DATA without a length',
    (peer) => [open(peer), frame(data, padded, 1)],
    'goaway',
    'protocolError',
  ],
  [
    '6.2: HEADERS on stream 0',
    (peer) => [frame(headers, endHeaders, 0, block(peer))],
    'goaway',
    'protocolError',
  ],
  [
    '6.2: HEADERS with too much padding',
    (peer) => [frame(headers, endHeaders | padded, 1, [200, ...block(peer)])],
    'goaway',
    'protocolError',
  ],
  [
    '6.2: HEADERS that depends on itself',
    (peer) => [frame(headers, endHeaders | Flag.priority, 1, [0, 0, 0, 1, 7, ...block(peer)])],
    'goaway',
    'protocolError',
  ],
  [
    '6.2: HEADERS cut in its priority',
    () => [frame(headers, endHeaders | Flag.priority, 1, [0, 0])],
    'goaway',
    'frameSizeError',
  ],
  [
    '6.3: PRIORITY on stream 0',
    () => [frame(priority, 0, 0, [0, 0, 0, 3, 7])],
    'goaway',
    'protocolError',
  ],
  [
    '6.3: PRIORITY of another length',
    (peer) => [open(peer), frame(priority, 0, 1, [0, 0, 0, 3])],
    'reset',
    'frameSizeError',
  ],
  [
    '6.3: PRIORITY on itself',
    (peer) => [open(peer), frame(priority, 0, 1, [0, 0, 0, 1, 7])],
    'reset',
    'protocolError',
  ],
  [
    '6.4: RST_STREAM on stream 0',
    () => [frame(rstStream, 0, 0, uint32(8))],
    'goaway',
    'protocolError',
  ],
  [
    '6.4: RST_STREAM of another length',
    (peer) => [open(peer), frame(rstStream, 0, 1, [0, 0, 8])],
    'goaway',
    'frameSizeError',
  ],
  ['6.5: SETTINGS on a stream', () => [frame(FrameType.settings, 0, 1)], 'goaway', 'protocolError'],
  [
    '6.5: SETTINGS of another length',
    () => [frame(FrameType.settings, 0, 0, [0, 3, 0])],
    'goaway',
    'frameSizeError',
  ],
  [
    '6.5: an ACK with settings',
    () => [frame(FrameType.settings, Flag.ack, 0, [0, 3, 0, 0, 0, 9])],
    'goaway',
    'frameSizeError',
  ],
  ['6.5.2: ENABLE_PUSH of 2', () => [settings([Setting.enablePush, 2])], 'goaway', 'protocolError'],
  [
    '6.5.2: INITIAL_WINDOW_SIZE above 2^31-1',
    () => [settings([Setting.initialWindowSize, 2 ** 31])],
    'goaway',
    'flowControlError',
  ],
  [
    '6.5.2: MAX_FRAME_SIZE below 16 KiB',
    () => [settings([Setting.maxFrameSize, 16_383])],
    'goaway',
    'protocolError',
  ],
  [
    '6.5.2: MAX_FRAME_SIZE above 2^24-1',
    () => [settings([Setting.maxFrameSize, 2 ** 24])],
    'goaway',
    'protocolError',
  ],
  [
    '6.6: PUSH_PROMISE from a client',
    (peer) => [open(peer), frame(FrameType.pushPromise, endHeaders, 1, [0, 0, 0, 2, 0x82])],
    'goaway',
    'protocolError',
  ],
  ['6.7: PING on a stream', () => [frame(ping, 0, 1, Buffer.alloc(8))], 'goaway', 'protocolError'],
  [
    '6.7: PING of another length',
    () => [frame(ping, 0, 0, Buffer.alloc(7))],
    'goaway',
    'frameSizeError',
  ],
  [
    '6.8: GOAWAY on a stream',
    () => [frame(goaway, 0, 1, Buffer.alloc(8))],
    'goaway',
    'protocolError',
  ],
  [
    '6.8: GOAWAY that is too short',
    () => [frame(goaway, 0, 0, Buffer.alloc(7))],
    'goaway',
    'frameSizeError',
  ],
  [
    '6.9: WINDOW_UPDATE of 0',
    () => [frame(windowUpdate, 0, 0, uint32(0))],
    'goaway',
    'protocolError',
  ],
  [
    '6.9: WINDOW_UPDATE of 0 on a stream',
    (peer) => [open(peer), frame(windowUpdate, 0, 1, uint32(0))],
    'reset',
    'protocolError',
  ],
  [
    '6.9: WINDOW_UPDATE of another length',
    () => [frame(windowUpdate, 0, 0, [0, 0, 1])],
    'goaway',
    'frameSizeError',
  ],
  [
    '6.9.1: a window above 2^31-1',
    () => [frame(windowUpdate, 0, 0, uint32(2 ** 31 - 1))],
    'goaway',
    'flowControlError',
  ],
  [
    '6.9.1: the window of a stream above 2^31-1',
    (peer) => [open(peer), frame(windowUpdate, 0, 1, uint32(2 ** 31 - 1))],
    'reset',
    'flowControlError',
  ],
  [
    '6.9.2: SETTINGS that widen a stream above 2^31-1',
    (peer) => [
      open(peer),
      frame(windowUpdate, 0, 1, uint32(2 ** 30)),
      settings([Setting.initialWindowSize, 2 ** 31 - 1]),
    ],
    'goaway',
    'flowControlError',
  ],
  [
    '6.10: CONTINUATION behind the end of headers',
    (peer) => [open(peer), frame(continuation, endHeaders, 1, [0x82])],
    'goaway',
    'protocolError',
  ],
  [
    '6.10: CONTINUATION on stream 0',
    (peer) => [frame(headers, 0, 1, block(peer)), frame(continuation, endHeaders, 0)],
    'goaway',
    'protocolError',
  ],
  [
    '8.1: trailers that do not end the stream',
    (peer) => [open(peer), peer.headers(1, 0, ['x', 'y'])],
    'reset',
    'protocolError',
  ],
  [
    '8.1: pseudo-headers in trailers',
    (peer) => [open(peer), peer.headers(1, endStream, [':path', '/'])],
    'reset',
    'protocolError',
  ],
  [
    '8.1.1: less data than content-length',
    (peer) => [
      peer.headers(1, 0, [...good, 'content-length', '2']),
      frame(data, endStream, 1, [1]),
    ],
    'reset',
    'protocolError',
  ],
  [
    '8.1.1: more data than content-length',
    (peer) => [peer.headers(1, 0, [...good, 'content-length', '1']), frame(data, 0, 1, [1, 2])],
    'reset',
    'protocolError',
  ],
  ['8.2: upper case in a name', (peer) => with_(peer, 'X-Test', 'ok'), 'reset', 'protocolError'],
  [
    '8.2.1: a line feed in a value',
    (peer) => with_(peer, 'x-test', 'a\nb'),
    'reset',
    'protocolError',
  ],
  [
    '8.2.2: a connection header',
    (peer) => with_(peer, 'connection', 'keep-alive'),
    'reset',
    'protocolError',
  ],
  ['8.2.2: TE that is not trailers', (peer) => with_(peer, 'te', 'gzip'), 'reset', 'protocolError'],
  [
    '8.3: an unknown pseudo-header',
    (peer) => [peer.headers(1, endStream, [':test', 'ok', ...good])],
    'reset',
    'protocolError',
  ],
  [
    '8.3: a pseudo-header of responses',
    (peer) => [peer.headers(1, endStream, [':status', '200', ...good])],
    'reset',
    'protocolError',
  ],
  [
    '8.3: a pseudo-header behind the others',
    (peer) => with_(peer, ':authority', 'x'),
    'reset',
    'protocolError',
  ],
  [
    '8.3.1: an empty path',
    (peer) => [peer.headers(1, endStream, [':method', 'GET', ':scheme', 'http', ':path', ''])],
    'reset',
    'protocolError',
  ],
  [
    '8.3.1: no method',
    (peer) => [peer.headers(1, endStream, good.slice(2))],
    'reset',
    'protocolError',
  ],
  [
    '8.3.1: no path',
    (peer) => [peer.headers(1, endStream, good.slice(0, 4))],
    'reset',
    'protocolError',
  ],
  [
    '8.3.1: two methods',
    (peer) => [peer.headers(1, endStream, [':method', 'GET', ...good])],
    'reset',
    'protocolError',
  ],
]

const harmless: readonly (readonly [string, (peer: RawPeer) => readonly Buffer[]])[] = [
  ['4.1: an unknown frame', () => [frame(0x77, 0xff, 9, Buffer.alloc(100))]],
  ['5.1: PRIORITY on an idle stream', () => [frame(priority, 0, 9, [0, 0, 0, 3, 7])]],
  [
    '5.1: WINDOW_UPDATE behind a reset',
    (peer) => [open(peer), frame(rstStream, 0, 1, uint32(8)), frame(windowUpdate, 0, 1, uint32(1))],
  ],
  ['6.5.2: an unknown setting', () => [settings([99, 7])]],
  [
    '6.5.3: SETTINGS that shrink the table of headers',
    () => [settings([Setting.headerTableSize, 0])],
  ],
  ['6.7: a PING that answers nothing', () => [frame(ping, Flag.ack, 0, Buffer.alloc(8))]],
  ['6.8: GOAWAY', () => [frame(goaway, 0, 0, Buffer.alloc(8))]],
  [
    '8.2.3: cookies one by one',
    (peer) => [peer.headers(9, endStream, [...good, 'cookie', 'a=b', 'cookie', 'c=d'])],
  ],
]

suite('a client that breaks the rules', { timeout: 30_000 }, () => {
  for (const [what, send, by, code] of violations) {
    test(`${what} is a ${code}`, async () => {
      await using server = await listen({ onStream: (stream) => void stream })
      await using other = await RawPeer.connect(server.path)
      await using peer = await RawPeer.connect(server.path)
      peer.send(...send(peer))
      const verdict = await peer.verdict()
      assert.deepEqual({ by: verdict?.by, code: nameOf(verdict?.code ?? -1) }, { by, code })
      assert.equal(await peer.alive(), by === 'reset')
      if (by === 'goaway') assert.equal((await server.error).name, 'Http2Error')
      else assert.deepEqual(server.errors, [])
      assert.ok(await other.alive())
    })
  }

  test('3.4: something else than the preface ends the connection', async () => {
    await using server = await listen({ onStream: echo })
    await using peer = await RawPeer.connect(server.path, nothing)
    assert.equal((await peer.find(FrameType.settings))?.stream, 0)
    const socket = connect({ path: server.path })
    socket.write('GET / HTTP/1.1\r\n\r\n')
    socket.resume()
    await once(socket, 'close')
    assert.match((await server.error).message, /does not speak HTTP\/2/)
  })

  test('3.4: something else than SETTINGS behind the preface ends it too', async () => {
    await using server = await listen({ onStream: echo })
    await using peer = await RawPeer.connect(server.path, frame(ping, 0, 0, Buffer.alloc(8)))
    assert.deepEqual(await peer.verdict(), { by: 'goaway', code: ErrorCode.protocolError })
  })
})

suite('a client that is only strange', { timeout: 30_000 }, () => {
  for (const [what, send] of harmless) {
    test(`${what} is no fault`, async () => {
      await using server = await listen({ onStream: echo })
      await using peer = await RawPeer.connect(server.path)
      peer.send(...send(peer), peer.headers(11, 0), frame(data, endStream, 11, [1, 2, 3]))
      for (;;) {
        const answer = await peer.find(data)
        assert.ok(answer)
        if (answer.stream === 11) {
          assert.deepEqual([...answer.payload], [1, 2, 3])
          break
        }
      }
      assert.ok(await peer.alive())
    })
  }

  test('padding, priority and headers in many pieces are read', async () => {
    await using server = await listen({ onStream: echo })
    await using peer = await RawPeer.connect(server.path)
    const bytes = block(peer)
    const pieces = [...bytes.subarray(3)].map((byte) => frame(continuation, 0, 1, [byte]))
    const first = frame(headers, padded | Flag.priority, 1, [
      2,
      0,
      0,
      0,
      3,
      7,
      ...bytes.subarray(0, 3),
      0,
      0,
    ])
    peer.send(first, ...pieces, frame(continuation, endHeaders, 1))
    peer.send(
      frame(data, padded, 1, [3, 65, 66, 0, 0, 0]),
      frame(data, endStream | padded, 1, [0, 67]),
    )
    assert.equal((await peer.find(data))?.payload.toString(), 'ABC')
  })

  test('all may come byte by byte', async () => {
    await using server = await listen({ onStream: echo })
    await using peer = await RawPeer.connect(server.path, nothing)
    const all = Buffer.concat([
      settings(),
      peer.headers(1, 0),
      frame(data, endStream, 1, Buffer.from('slow')),
    ])
    peer.socket.setNoDelay(true)
    for (const byte of all) {
      peer.socket.write(Buffer.of(byte))
      await sleep(0)
    }
    assert.equal((await peer.find(data))?.payload.toString(), 'slow')
  })

  test('a response ends a request that is still being sent, and what comes then is ignored', async () => {
    await using server = await listen({
      onStream: (stream) => stream.sendHeaders([':status', '404'], [], true),
    })
    await using peer = await RawPeer.connect(server.path)
    peer.send(peer.headers(1, 0))
    const answer = await peer.find(headers)
    assert.equal(answer && peer.fieldsOf(answer)[1], '404')
    assert.equal((await peer.find(rstStream))?.payload.readUInt32BE(), ErrorCode.noError)
    peer.send(frame(data, 0, 1, [1]), peer.headers(1, endStream, ['x', 'y']))
    assert.ok(await peer.alive())
    assert.deepEqual(server.errors, [])
  })

  test('a client that goes away ends its streams', async () => {
    const ended = Promise.withResolvers<string>()
    await using server = await listen({
      onStream: (stream) => {
        stream.receiver = { onData: () => {}, onClose: ended.resolve }
      },
    })
    await using peer = await RawPeer.connect(server.path)
    peer.send(peer.headers(1, 0))
    assert.ok(await peer.alive())
    peer.socket.end()
    assert.equal(await ended.promise, 'connection lost')
  })

  test('preface bytes are the ones of the RFC', () => {
    assert.equal(preface.toString('hex'), '505249202a20485454502f322e300d0a0d0a534d0d0a0d0a')
  })
})
