import type { Reader } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import type { Content } from '#gen/services/content_pb.ts'
import type { ServiceClient } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'

/** A blob of another daemon; each `read` is a call of its own, on behalf of who opened it. */
export class RemoteReader implements Reader {
  readonly size: number
  readonly #ctx: Context
  readonly #client: ServiceClient<typeof Content>
  readonly #digest: string

  constructor(
    ctx: Context,
    client: ServiceClient<typeof Content>,
    blob: { readonly digest: string; readonly size: number },
  ) {
    this.#ctx = ctx
    this.#client = client
    this.#digest = blob.digest
    this.size = blob.size
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const wanted = Math.min(length, this.size - offset)
    if (wanted <= 0) return new Uint8Array()
    const request = { digest: this.#digest, offset: BigInt(offset), size: BigInt(wanted) }
    const pieces: Uint8Array[] = []
    for await (const { data } of this.#client.read(request, callOptions(this.#ctx))) {
      pieces.push(data)
    }
    const [first] = pieces
    return pieces.length === 1 && first ? first : Buffer.concat(pieces)
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
