import { type Context, silent } from '#core/context.ts'
import type { AbortOptions } from '#lib/async/mutex.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { RemoteContainerStore } from '#proxy/containers.ts'
import { RemoteContentStore } from '#proxy/content.ts'
import { RemoteDiffer } from '#proxy/diff.ts'
import { RemoteImageStore } from '#proxy/images.ts'
import { RemoteLeaseManager } from '#proxy/leases.ts'
import { RemoteNamespaceStore } from '#proxy/namespaces.ts'
import { RemoteSnapshotter } from '#proxy/snapshots.ts'
import { RemoteTaskManager } from '#proxy/tasks.ts'

/** What every call of a client has in common. */
export interface SessionSettings {
  /** Whose containers and images are meant. */
  readonly namespace: string
  /** The lease that what is made joins; empty for none. */
  readonly lease: string
  /** Of containers and images that do not say otherwise. */
  readonly snapshotter: string
  /** Of containers that do not say otherwise. */
  readonly runtime: string
  /** Where directories for stdio FIFOs are made. Daemon and shim must see the same path. */
  readonly fifoDir: string
}

/** Makes another connection to the same daemon. @throws `unavailable` when nobody answers. */
export type Dial = (options: AbortOptions) => Promise<Connection>

/** A connection with settings, and the core contracts over it: what the parts of a client share. */
export class Session {
  readonly connection: Connection
  readonly settings: SessionSettings
  readonly containers: RemoteContainerStore
  readonly content: RemoteContentStore
  readonly differ: RemoteDiffer
  readonly images: RemoteImageStore
  readonly leases: RemoteLeaseManager
  readonly namespaces: RemoteNamespaceStore
  readonly tasks: RemoteTaskManager
  readonly #dial: Dial

  constructor(connection: Connection, settings: SessionSettings, dial: Dial) {
    this.connection = connection
    this.settings = settings
    this.#dial = dial
    this.containers = new RemoteContainerStore(connection)
    this.content = new RemoteContentStore(connection)
    this.differ = new RemoteDiffer(connection)
    this.images = new RemoteImageStore(connection)
    this.leases = new RemoteLeaseManager(connection)
    this.namespaces = new RemoteNamespaceStore(connection)
    this.tasks = new RemoteTaskManager(connection)
  }

  /** The snapshotter `name`; the one of the settings without a name. */
  snapshotter(name = this.settings.snapshotter): RemoteSnapshotter {
    return new RemoteSnapshotter(this.connection, name)
  }

  /** The same connection with other settings. */
  with(settings: Partial<SessionSettings>): Session {
    return new Session(this.connection, { ...this.settings, ...settings }, this.#dial)
  }

  /** A session of its own, which also finds a daemon that was started anew. Its connection is the caller's to close. */
  async again(options: AbortOptions): Promise<Session> {
    return new Session(await this.#dial(options), this.settings, this.#dial)
  }

  /** The context of one call. It ends with the caller's signal, or with the connection. */
  context({ signal }: AbortOptions = {}): Context {
    const { closed } = this.connection
    const { namespace, lease } = this.settings
    return {
      signal: signal ? AbortSignal.any([signal, closed]) : closed,
      // A library says what it has to say by what it returns and throws.
      log: silent,
      namespace,
      ...(lease && { lease }),
    }
  }
}
