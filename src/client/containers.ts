import type { Labels } from '#core/labels/labels.ts'
import type { AbortOptions } from '#lib/async/mutex.ts'
import { forCleanup } from '#core/context.ts'

import { Container } from './container.ts'
import { Image } from './image.ts'
import { TemporaryLease } from './lease.ts'
import type { ImageConfig } from '#core/images/oci.ts'
import type { Session } from './session.ts'
import { type SpecOptions, buildSpec, packSpec } from './spec/build.ts'

/** What a container is made from. */
export interface CreateContainerOptions extends SpecOptions, AbortOptions {
  /** Image, or its name. Its layers are made into snapshots if they are not yet. */
  readonly image: Image | string
  readonly labels?: Labels
  /** The client's default without it. */
  readonly snapshotter?: string
  /** Name of a runtime or path of a shim; the client's default without it. */
  readonly runtime?: string
}

/** Which signal asks the process to end. Source: upstream `containerd.StopSignalLabel`. */
const stopSignalLabel = 'io.containerd.image.config.stop-signal'

/** The containers of one namespace. */
export class Containers {
  readonly #session: Session

  constructor(session: Session) {
    this.#session = session
  }

  /** @throws `not_found`. */
  async get(id: string, options: AbortOptions = {}): Promise<Container> {
    await this.#session.containers.get(this.#session.context(options), id)
    return new Container(this.#session, id)
  }

  /** Those that match any of `filters`; all without one. @throws `invalid_argument`. */
  async list(filters: readonly string[] = [], options: AbortOptions = {}): Promise<Container[]> {
    const records = await this.#session.containers.list(this.#session.context(options), filters)
    return records.map(({ id }) => new Container(this.#session, id))
  }

  /**
   * Makes a container with a root file system of its own. Disposing it removes it again; see
   * `Container.keep`.
   *
   * @throws `already_exists`; `invalid_argument` for a bad id, label, user or command; `not_found`
   * for the image.
   */
  async create(id: string, options: CreateContainerOptions): Promise<Container> {
    await using lease = await TemporaryLease.take(this.#session, options)
    const { session } = lease
    const ctx = session.context(options)
    const { namespace, snapshotter, runtime } = { ...session.settings, ...options }

    const image = await this.#image(session, options)
    const config = await image.config(options)
    const spec = packSpec(buildSpec({ namespace, id }, config, options))
    const parent = await image.unpack({ ...options, snapshotter })

    await using undo = new AsyncDisposableStack()
    const sn = session.snapshotter(snapshotter)
    await sn.prepare(ctx, id, parent)
    undo.defer(() => sn.remove(forCleanup(ctx), id))
    await session.containers.create(ctx, {
      id,
      labels: { ...stopLabel(config), ...options.labels },
      image: image.name,
      runtime: { name: runtime },
      spec,
      snapshotKey: id,
      snapshotter,
      sandbox: '',
      extensions: {},
    })
    undo.move()
    return new Container(this.#session, id, true)
  }

  async #image(session: Session, { image, signal }: CreateContainerOptions): Promise<Image> {
    if (typeof image !== 'string') return image
    const ctx = session.context(signal ? { signal } : {})
    return new Image(session, await session.images.get(ctx, image))
  }
}

const stopLabel = ({ stopSignal }: ImageConfig): Labels =>
  stopSignal ? { [stopSignalLabel]: stopSignal } : {}
