import { type Context, namespaceOf } from '#core/context.ts'
import type {
  CollectibleName,
  CollectibleObject,
  CollectibleResource,
  ResourceCollection,
} from '#core/gc/gc.ts'
import type { Stream, StreamManager } from '#core/streaming/streaming.ts'
import { alreadyExists, notFound } from '#lib/errors/errors.ts'

interface Known extends CollectibleName {
  readonly stream: Stream
  readonly lease: string | undefined
}

/**
 * Streams of clients, in memory: they are gone with the connection they came over.
 *
 * Source: upstream `plugins/streaming/manager.go`.
 */
export class OpenStreams implements StreamManager, CollectibleResource {
  /** What labels call them: `containerd.io/gc.ref.stream`. */
  readonly type = 'stream'
  readonly #known = new Map<string, Known>()

  register(ctx: Context, id: string, stream: Stream): Disposable {
    const known = { namespace: namespaceOf(ctx), key: id, stream, lease: ctx.lease }
    const at = keyOf(known)
    if (this.#known.has(at)) throw alreadyExists(`stream ${JSON.stringify(id)}`)
    this.#known.set(at, known)
    return { [Symbol.dispose]: () => this.#forget(known) }
  }

  get(ctx: Context, id: string): Stream {
    const known = this.#known.get(keyOf({ namespace: namespaceOf(ctx), key: id }))
    if (!known) throw notFound(`stream ${JSON.stringify(id)}`)
    return known.stream
  }

  /** A stream that is opened meanwhile is another object than the one that `remove` may name. */
  startCollection(): Promise<ResourceCollection> {
    const before = new Map(this.#known)
    return Promise.resolve({
      objects: before.values().map(toObject),
      remove: async (garbage) => {
        for (const name of garbage) this.#close(before.get(keyOf(name)))
        await Promise.resolve()
      },
      [Symbol.asyncDispose]: async () => await Promise.resolve(),
    })
  }

  #close(known: Known | undefined): void {
    if (!known) return
    this.#forget(known)
    known.stream.close()
  }

  #forget(known: Known): void {
    const at = keyOf(known)
    if (this.#known.get(at) === known) this.#known.delete(at)
  }
}

/** Namespaces have no slash in their names. */
const keyOf = ({ namespace, key }: CollectibleName): string => `${namespace}/${key}`

const toObject = ({ namespace, key, lease }: Known): CollectibleObject => ({
  namespace,
  key,
  lease,
  active: lease === undefined,
})
