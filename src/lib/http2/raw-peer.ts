/* For tests: a server on a unix socket, and a peer that sends the frames it likes. */
import { once } from 'node:events'
import { mkdtempDisposable } from 'node:fs/promises'
import { type Socket, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { FrameReader } from './frame-reader.ts'
import type { HeaderList } from './header-block.ts'
import { HpackDecoder } from './hpack-decoder.ts'
import { HpackEncoder } from './hpack-encoder.ts'
import { ErrorCode, Flag, FrameType, preface } from './protocol.ts'
import { type Http2ServerConnection, type Http2ServerOptions, acceptHttp2 } from './server.ts'

/** A frame as it came. */
export interface Frame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Buffer
}

/** A listening server of the engine. */
export interface Listening extends AsyncDisposable {
  readonly path: string
  readonly connections: ReadonlySet<Http2ServerConnection>
  /** Why connections ended, those that ended for a reason. */
  readonly errors: readonly Error[]
  /** The first of them. */
  readonly error: Promise<Error>
}

/** Serves every connection alike until disposal. */
export async function listen(options: Http2ServerOptions): Promise<Listening> {
  const dir = await mkdtempDisposable(join(tmpdir(), 'http2-'))
  const path = join(dir.path, 'socket')
  const connections = new Set<Http2ServerConnection>()
  const errors: Error[] = []
  const failed = Promise.withResolvers<Error>()
  const server = createServer((socket) => {
    const connection = acceptHttp2(socket, {
      ...options,
      onClose: (err) => {
        if (err) errors.push(err)
        if (err) failed.resolve(err)
        connections.delete(connection)
        options.onClose?.(err)
      },
    })
    connections.add(connection)
  })
  server.listen({ path })
  await once(server, 'listening')
  return {
    path,
    connections,
    errors,
    error: failed.promise,
    async [Symbol.asyncDispose]() {
      for (const connection of connections) connection.destroy()
      server.close()
      await once(server, 'close')
      await dir[Symbol.asyncDispose]()
    },
  }
}

/** The bytes of a frame; `length` to lie about it. */
export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array | readonly number[] = [],
  length: number = payload.length,
): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, Buffer.from(payload)])
}

/** A number as four bytes. */
export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** SETTINGS with these values. */
export function settings(...values: readonly (readonly [id: number, value: number])[]): Buffer {
  const payload = values.map(([id, value]) => Buffer.concat([Buffer.of(0, id), uint32(value)]))
  return frame(FrameType.settings, 0, 0, Buffer.concat(payload))
}

/** The headers of a request that is all right. */
export const good: HeaderList = [
  ':method',
  'POST',
  ':scheme',
  'http',
  ':path',
  '/',
  'te',
  'trailers',
]

/** A peer that is driven frame by frame. */
export class RawPeer implements AsyncDisposable {
  readonly socket: Socket
  readonly encoder: HpackEncoder = new HpackEncoder()
  readonly #decoder = new HpackDecoder(1 << 20)
  readonly #frames: Frame[] = []
  readonly #closed: Promise<void>
  #ended = false
  #arrived = Promise.withResolvers<void>()

  private constructor(socket: Socket) {
    this.socket = socket
    const reader = new FrameReader((type, flags, stream, bytes, start, end) => {
      this.#frames.push({ type, flags, stream, payload: bytes.subarray(start, end) })
    })
    socket.on('data', (chunk: Buffer) => {
      reader.push(chunk)
      this.#arrived.resolve()
    })
    socket.on('error', () => {})
    this.#closed = this.#close()
  }

  async #close(): Promise<void> {
    await once(this.socket, 'close')
    this.#ended = true
    this.#arrived.resolve()
  }

  /** Connects, and sends the preface with what comes first: SETTINGS, something else, or `silence`. */
  static async connect(path: string, first: Buffer | 'silence' = settings()): Promise<RawPeer> {
    const socket = connect({ path })
    await once(socket, 'connect')
    const peer = new RawPeer(socket)
    if (first === 'silence') return peer
    const ack = first.length > 0 ? [frame(FrameType.settings, Flag.ack, 0)] : []
    socket.write(Buffer.concat([preface, first, ...ack]))
    return peer
  }

  send(...frames: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(frames))
  }

  /** HEADERS of a request. */
  headers(stream: number, flags: number, fields: HeaderList = good): Buffer {
    const block = this.encoder.encode(fields)
    return frame(FrameType.headers, flags | Flag.endHeaders, stream, block)
  }

  /** The fields of a HEADERS frame that came. */
  fieldsOf({ payload }: Frame): HeaderList {
    return this.#decoder.decode(payload, 0, payload.length).fields
  }

  /** The next frame, or undefined when the connection is over. */
  async next(): Promise<Frame | undefined> {
    while (this.#frames.length === 0 && !this.#ended) {
      await this.#arrived.promise
      if (this.#frames.length === 0 && !this.#ended) this.#arrived = Promise.withResolvers<void>()
    }
    return this.#frames.shift()
  }

  /** The next frame of a type; those before it are dropped. Undefined when there is none. */
  async find(type: number): Promise<Frame | undefined> {
    for (;;) {
      const next = await this.next()
      if (!next || next.type === type) return next
    }
  }

  /** How the peer was told off: the code of a GOAWAY, or of the first RST_STREAM. */
  async verdict(): Promise<{ readonly by: 'goaway' | 'reset'; readonly code: number } | undefined> {
    for (;;) {
      const next = await this.next()
      if (!next) return undefined
      if (next.type === FrameType.goaway)
        return { by: 'goaway', code: next.payload.readUInt32BE(4) }
      if (next.type === FrameType.rstStream)
        return { by: 'reset', code: next.payload.readUInt32BE(0) }
    }
  }

  /** Whether the connection still answers a PING. */
  async alive(): Promise<boolean> {
    this.send(frame(FrameType.ping, 0, 0, Buffer.from('are you?')))
    for (;;) {
      const pong = await this.find(FrameType.ping)
      if (!pong) return false
      if (pong.flags === Flag.ack && pong.payload.toString() === 'are you?') return true
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy()
    await this.#closed
  }
}

/** A server's answer to everything: what it was sent, when that has come whole. */
export const echo: Http2ServerOptions['onStream'] = (stream) => {
  const chunks: Buffer[] = []
  stream.receiver = {
    onData: (chunk, end) => {
      chunks.push(chunk)
      stream.credit(chunk.length)
      if (!end) return
      stream.sendHeaders([':status', '200', 'content-type', 'text/plain'])
      stream.sendData(Buffer.concat(chunks))
      stream.sendTrailers(['x-status', '0'])
    },
    onClose: () => {},
  }
}

/** The name of an error code, for messages of tests. */
export const nameOf = (code: number): string =>
  Object.entries(ErrorCode).find(([, value]) => value === code)?.[0] ?? String(code)
