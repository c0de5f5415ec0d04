/*
 * A gRPC body is length-prefixed messages, one after the other, cut into DATA frames anyhow
 * (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md):
 *
 *   +----------------+--------------------+------------------+
 *   | compressed (8) | length (32, big e.) | message (length) |
 *   +----------------+--------------------+------------------+
 *
 * Only compressed = 0 is spoken here.
 */
import { Gathered } from '#lib/bytes/gathered.ts'
import { CodedError } from '#lib/errors/errors.ts'
import type { Http2Stream } from '#lib/http2/stream.ts'
import { lenderOf } from '#lib/rpc/codec.ts'

const prefixBytes = 5
const copiedBelow = 16 * 1024

/** containerd's limit for a message in either direction. */
export const defaultMaxBytes: number = 16 * 1024 * 1024

/** @throws `resource_exhausted` if `message` is larger than the sender may send. */
export function checkSendable(message: Uint8Array, maxBytes: number): void {
  if (message.length <= maxBytes) return
  throw new CodedError(
    'resource_exhausted',
    `grpc: trying to send message larger than max (${message.length} vs. ${maxBytes})`,
  )
}

/** The prefix and the message in one buffer. */
export function toFrame(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(prefixBytes + message.length)
  frame[0] = 0
  frame.writeUInt32BE(message.length, 1)
  frame.set(message, prefixBytes)
  return frame
}

/**
 * Writes one message, the last if `end`; a large one is not copied. False means that the writer
 * should wait.
 */
export function writeMessage(to: Http2Stream, message: Uint8Array, end = false): boolean {
  const back = lenderOf(message)
  if (message.length < copiedBelow) {
    const frame = toFrame(message)
    back?.()
    return to.sendData(frame, end)
  }
  const prefix = Buffer.alloc(prefixBytes)
  prefix.writeUInt32BE(message.length, 1)
  to.sendData(prefix)
  return to.sendData(message, end, back)
}

/**
 * The message that `chunk` is: it and nothing else. Undefined if it is less or more than one.
 * @throws as `MessageReader.push`.
 */
export function wholeMessage(chunk: Buffer, maxBytes: number): Buffer | undefined {
  const { length } = chunk
  if (length < prefixBytes || lengthAt(chunk, 0, maxBytes) !== length - prefixBytes)
    return undefined
  return chunk.subarray(prefixBytes)
}

/** Cuts a body into its messages. A message that came whole is a view of the chunk it came in. */
export class MessageReader {
  readonly #maxBytes: number
  readonly #gathered = new Gathered()
  #needed = prefixBytes

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** Whether a message has begun that has not ended. */
  get inMessage(): boolean {
    return this.#gathered.length > 0
  }

  /**
   * The messages that `chunk` completes.
   * @throws `resource_exhausted` for one over the limit, `internal` for a compressed one; nothing
   *   can be read after that.
   */
  push(chunk: Buffer): Buffer[] {
    this.#gathered.push(chunk)
    const messages: Buffer[] = []
    let from = 0
    while (this.#gathered.length - from >= this.#needed) {
      const all = this.#gathered.all()
      const end = from + prefixBytes + lengthAt(all, from, this.#maxBytes)
      if (end > all.length) {
        this.#needed = end - from
        break
      }
      messages.push(all.subarray(from + prefixBytes, end))
      from = end
      this.#needed = prefixBytes
    }
    if (from > 0) this.#gathered.drop(from)
    return messages
  }
}

function lengthAt(bytes: Buffer, from: number, maxBytes: number): number {
  if (bytes[from] !== 0) {
    throw new CodedError('internal', 'grpc: compressed flag set with identity or empty encoding')
  }
  const length = bytes.readUInt32BE(from + 1)
  if (length <= maxBytes) return length
  throw new CodedError(
    'resource_exhausted',
    `grpc: received message larger than max (${length} vs. ${maxBytes})`,
  )
}
