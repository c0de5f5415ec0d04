import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import { tmpdir } from 'node:os'

import type { ConvertOptions } from '#client/convert.ts'
import { Images } from '#client/images.ts'
import { Session } from '#client/session.ts'
import { transferStores } from '#client/stores.ts'
import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Labels } from '#core/labels/labels.ts'
import { exportImages } from '#core/transfer/export.ts'
import { importImages } from '#core/transfer/import.ts'
import type { ExportOptions, ImageSource, ImageTarget } from '#core/transfer/transfer.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import type { Containerd } from '#testing/containerd.ts'
import { run, startDaemon, type TestDaemon } from '#testing/daemon.ts'

/** Nothing is collected while what is there is compared. */
const config = `[plugins."io.containerd.gc.v1.scheduler"]
schedule_delay = "1h"
startup_delay = "1h"`

/** What a namespace has, without its times. */
export interface Estate {
  readonly images: readonly { readonly name: string; readonly target: Descriptor }[]
  readonly content: Readonly<Record<string, Labels>>
  readonly snapshots: readonly unknown[]
}

/** A daemon whose images are looked at over its API. */
export class Side implements AsyncDisposable {
  readonly daemon: TestDaemon
  readonly #ctr: string

  private constructor(daemon: TestDaemon, ctr: string) {
    this.daemon = daemon
    this.#ctr = ctr
  }

  static async start(containerd: Containerd): Promise<Side> {
    return new Side(await startDaemon({ config, containerd }), containerd.ctr)
  }

  /** wharfd, with the `ctr` of `containerd`. */
  static async startWharf({ ctr }: Containerd): Promise<Side> {
    return new Side(await startDaemon({ config }), ctr)
  }

  async ctr(namespace: string, ...args: readonly string[]): Promise<void> {
    const all = ['-a', this.daemon.address, '-n', namespace, ...args]
    const { code, stdout, stderr } = await run(this.#ctr, all)
    assert.equal(code, 0, `ctr ${args.join(' ')}\n${stdout}${stderr}`)
  }

  /** Imports with what is tested here, over the API of the daemon. */
  async import(
    namespace: string,
    file: string,
    into: ImageTarget,
    compress = false,
  ): Promise<void> {
    await this.#session(namespace, async (ctx, session) => {
      const archive = {
        bytes: createReadStream(file, { highWaterMark: 1 << 20 }),
        forceCompress: compress,
      }
      await importImages(ctx, transferStores(session), archive, into)
    })
  }

  async export(
    namespace: string,
    sources: readonly ImageSource[],
    options: ExportOptions,
  ): Promise<Buffer> {
    return await this.#session(namespace, async (ctx, session) => {
      const bytes = exportImages(ctx, transferStores(session), sources, options)
      return Buffer.concat(await Array.fromAsync(bytes))
    })
  }

  async convert(
    namespace: string,
    from: string,
    to: string,
    options: ConvertOptions,
  ): Promise<string> {
    return await this.#session(namespace, async (_ctx, session) => {
      return await new Images(session)
        .convert(from, to, options)
        .then(async (image) => await image.unpack())
    })
  }

  async estate(namespace: string): Promise<Estate> {
    return await this.#session(namespace, async (ctx, session) => {
      const images = await session.images.list(ctx)
      const content = await Array.fromAsync(session.content.list(ctx))
      const snapshots = await Array.fromAsync(session.snapshotter().list(ctx))
      return {
        images: images
          .map(({ name, labels, target }) => ({
            name,
            labels: { ...labels },
            target: plain(target),
          }))
          .toSorted(byName),
        content: Object.fromEntries(content.map(({ digest, labels }) => [digest, { ...labels }])),
        snapshots: snapshots
          .map(({ name, kind, parent, labels }) => ({ name, kind, parent, labels: refOf(labels) }))
          .toSorted(byName),
      }
    })
  }

  async #session<T>(
    namespace: string,
    body: (ctx: Context, session: Session) => Promise<T>,
  ): Promise<T> {
    const dial = async () => await connectGrpc(this.daemon.address, {})
    await using connection = await dial()
    const settings = { namespace, lease: '', snapshotter: 'overlayfs', runtime: '' }
    const session = new Session(connection, { ...settings, fifoDir: tmpdir() }, dial)
    return await body(session.context(), session)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.daemon[Symbol.asyncDispose]()
  }
}

/** What newer containerds say of a layer besides its name is said here, too. */
const refOf = ({ 'containerd.io/snapshot.ref': ref }: Labels): unknown => ref

/** As it is compared: without fields that say nothing. */
const plain = ({ annotations, ...target }: Descriptor): Descriptor => ({
  ...target,
  ...(annotations && { annotations: { ...annotations } }),
})

const byName = (a: { readonly name: string }, b: { readonly name: string }): number =>
  a.name < b.name ? -1 : 1
