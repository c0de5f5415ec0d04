import type { Any } from '#core/any/any.ts'
import { DataSchema } from '#gen/types/transfer/streaming_pb.ts'
import { BufferPool } from '#lib/bytes/buffer-pool.ts'
import { encodeUvarint } from '#lib/go/varint.ts'
import { encodedAs, lend } from '#lib/rpc/codec.ts'

/*
 * Bytes in a message of a stream, a `google.protobuf.Any`, as it goes over the wire:
 *
 *     0a <length> containerd.types.transfer.Data     string type_url = 1
 *     12 <length>                                    bytes value = 2
 *        0a <length> <the bytes>                       bytes data = 1
 */

const typeUrl = DataSchema.typeName
const typeField = Buffer.concat([
  Buffer.from([0x0a]),
  encodeUvarint(typeUrl.length),
  Buffer.from(typeUrl),
])

/** What is in front of the bytes may take so much more. */
const roomBytes = 128

/** Makes messages of at most `maxBytes` bytes each, which are copied once. */
export class DataFrames {
  readonly #pool: BufferPool

  constructor(maxBytes: number) {
    this.#pool = new BufferPool(maxBytes + roomBytes, 16)
  }

  /** The message for `data`, more than none. It is made anew when a transport has sent it. */
  frame(data: Uint8Array): Any {
    const inner = encodeUvarint(data.length)
    const outer = encodeUvarint(1 + inner.length + data.length)
    const buffer = this.#pool.take(roomBytes + data.length)
    let at = 0
    const put = (bytes: Uint8Array): void => {
      buffer.set(bytes, at)
      at += bytes.length
    }
    put(typeField)
    buffer[at++] = 0x12
    put(outer)
    const valueAt = at
    buffer[at++] = 0x0a
    put(inner)
    put(data)
    const bytes = buffer.subarray(0, at)
    lend(bytes, () => this.#pool.give(buffer))
    return encodedAs({ typeUrl, value: bytes.subarray(valueAt) }, bytes)
  }
}
