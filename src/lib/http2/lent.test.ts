import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Flag, FrameType, Setting, defaultWindowBytes } from './protocol.ts'
import { RawPeer, frame, listen, settings, uint32 } from './raw-peer.ts'

/** A server that sends `bytes` to whoever asks, and scratches them as soon as it may. */
const lending = async (bytes: Buffer, back: () => void) =>
  await listen({
    onStream: (stream) => {
      stream.receiver = { onData: () => {}, onClose: () => {} }
      stream.sendHeaders([':status', '200'])
      stream.sendData(bytes, true, () => {
        bytes.fill(0xff)
        back()
      })
    },
  })

/** The body that comes, until it ends; `widen` is called when nothing more may come by itself. */
async function bodyOf(peer: RawPeer, window: number, widen: () => void): Promise<Buffer> {
  const pieces: Buffer[] = []
  let room = window
  for (;;) {
    const next = await peer.find(FrameType.data)
    if (!next) throw new Error('the connection has ended')
    pieces.push(next.payload)
    if ((next.flags & Flag.endStream) !== 0) return Buffer.concat(pieces)
    room -= next.payload.length
    if (room === 0) widen()
  }
}

test('bytes that are lent come back when they have left, not while they wait for a window', async () => {
  const narrow = 20_000
  const sent = Buffer.alloc(50_000, 'wharf')
  const copy = Buffer.from(sent)
  let returned = 0
  await using server = await lending(sent, () => returned++)
  await using peer = await RawPeer.connect(
    server.path,
    settings([Setting.initialWindowSize, narrow]),
  )
  peer.send(peer.headers(1, Flag.endStream))
  const body = await bodyOf(peer, narrow, () => {
    assert.equal(returned, 0)
    peer.send(frame(FrameType.windowUpdate, 0, 1, uint32(defaultWindowBytes - narrow)))
  })
  assert.ok(body.equals(copy))
  assert.ok(await peer.alive())
  assert.equal(returned, 1)
})

test('bytes that are lent stay as they are while the kernel does not take them', async () => {
  const size = 8 << 20
  const sent = Buffer.alloc(size, 'wharf')
  const copy = Buffer.from(sent)
  let returned = 0
  await using server = await lending(sent, () => returned++)
  await using peer = await RawPeer.connect(server.path, settings([Setting.initialWindowSize, size]))
  peer.socket.pause()
  peer.send(frame(FrameType.windowUpdate, 0, 0, uint32(size)), peer.headers(1, Flag.endStream))
  // The server has had its turn when another connection has been answered.
  await using other = await RawPeer.connect(server.path)
  assert.ok(await other.alive())
  assert.equal(returned, 0)
  peer.socket.resume()
  const body = await bodyOf(peer, Number.POSITIVE_INFINITY, () => {})
  assert.ok(body.equals(copy))
  assert.ok(await peer.alive())
  assert.equal(returned, 1)
})

test('bytes that are lent to a peer that leaves are not asked for', async () => {
  const size = 8 << 20
  let returned = 0
  await using server = await lending(Buffer.alloc(size), () => returned++)
  await using peer = await RawPeer.connect(server.path, settings([Setting.initialWindowSize, size]))
  peer.socket.pause()
  peer.send(frame(FrameType.windowUpdate, 0, 0, uint32(size)), peer.headers(1, Flag.endStream))
  await using other = await RawPeer.connect(server.path)
  assert.ok(await other.alive())
  peer.socket.destroy()
  assert.ok(await other.alive())
  assert.equal(returned, 0)
})
