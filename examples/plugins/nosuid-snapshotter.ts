/*
 * A snapshotter for containers whose set-uid programs must not work: overlayfs, with every mount
 * `nosuid`. It wraps an overlayfs of its own; the built-in one and its snapshots are not touched.
 *
 *     ctr run --snapshotter nosuid …
 */
import {
  type Context,
  definePlugin,
  type Mount,
  own,
  SnapshotPlugin,
  type snapshots,
  type Snapshotter,
} from 'wharfd/plugin'

type Options = snapshots.SnapshotOptions
type Named = Pick<snapshots.Info, 'name' | 'labels'>

const nosuid = (mounts: readonly Mount[]): readonly Mount[] =>
  mounts.map((mount) => ({ ...mount, options: [...mount.options, 'nosuid'] }))

class NosuidSnapshotter implements Snapshotter {
  readonly #inner: Snapshotter
  constructor(inner: Snapshotter) {
    this.#inner = inner
  }

  prepare = async (ctx: Context, key: string, parent: string, options?: Options) =>
    nosuid(await this.#inner.prepare(ctx, key, parent, options))
  view = async (ctx: Context, key: string, parent: string, options?: Options) =>
    nosuid(await this.#inner.view(ctx, key, parent, options))
  mounts = async (ctx: Context, key: string) => nosuid(await this.#inner.mounts(ctx, key))
  commit = (ctx: Context, name: string, key: string, options?: Options) =>
    this.#inner.commit(ctx, name, key, options)
  stat = (ctx: Context, key: string) => this.#inner.stat(ctx, key)
  update = (ctx: Context, info: Named, paths: readonly string[]) =>
    this.#inner.update(ctx, info, paths)
  usage = (ctx: Context, key: string) => this.#inner.usage(ctx, key)
  remove = (ctx: Context, key: string) => this.#inner.remove(ctx, key)
  list = (ctx: Context, filters?: readonly string[]) => this.#inner.list(ctx, filters)
  cleanup = (ctx: Context) => this.#inner.cleanup(ctx)
  // Whoever started the inner one stops it.
  async [Symbol.asyncDispose](): Promise<void> {}
}

export const nosuidPlugin = definePlugin({
  type: SnapshotPlugin,
  id: 'nosuid',
  requires: { overlay: own(SnapshotPlugin, 'overlayfs') },
  init: ({ deps }) => new NosuidSnapshotter(deps.overlay),
})
