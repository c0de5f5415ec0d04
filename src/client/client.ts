import type { Envelope, Followed, From } from '#core/events/events.ts'
import { Introspection } from '#gen/services/introspection_pb.ts'
import { Version } from '#gen/services/version_pb.ts'
import type { AbortOptions } from '#lib/async/mutex.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { callOptions } from '#proxy/call.ts'
import type { RemoteContentStore } from '#proxy/content.ts'
import { follow, subscribe } from '#proxy/events.ts'

import { Containers } from './containers.ts'
import { Images } from './images.ts'
import { Namespaces } from './namespaces.ts'
import type { Session, SessionSettings } from './session.ts'
import { Snapshots } from './snapshots.ts'

/** What a daemon says of itself. */
export interface ServerInfo {
  /** Of its root directory, for ever. */
  readonly uuid: string
  readonly pid: number
  readonly version: string
  readonly revision: string
}

/**
 * A connection to a daemon, on behalf of one namespace.
 *
 *     await using client = await connect('/run/containerd/containerd.sock')
 *     await using container = await client.containers.create('hello', { image: 'docker.io/library/busybox:latest' })
 *     const { status } = await container.run({ stdout: (chunk) => process.stdout.write(chunk) })
 *
 * Every method takes a signal. Errors are `CodedError`s with the daemon's code and message.
 */
export class Client implements AsyncDisposable {
  readonly namespaces: Namespaces
  readonly images: Images
  readonly containers: Containers
  /** Speaks the core contract: pass `context()` to its methods. */
  readonly content: RemoteContentStore
  readonly #session: Session

  constructor(session: Session) {
    this.#session = session
    this.namespaces = new Namespaces(session)
    this.images = new Images(session)
    this.containers = new Containers(session)
    this.content = session.content
  }

  get namespace(): string {
    return this.#session.settings.namespace
  }

  /** For services that have no method here. */
  get connection(): Connection {
    return this.#session.connection
  }

  /** The snapshots of a snapshotter; of the default one without a name. */
  snapshots(snapshotter?: string): Snapshots {
    return new Snapshots(this.#session, snapshotter)
  }

  /** The same connection on behalf of another namespace, or with other defaults. */
  with(settings: Partial<SessionSettings>): Client {
    return new Client(this.#session.with(settings))
  }

  /** The context that core contracts take, with the namespace of this client. */
  context(options: AbortOptions = {}): ReturnType<Session['context']> {
    return this.#session.context(options)
  }

  /**
   * Events of every namespace from now on, that match any of `filters`; all without one. Leaving the
   * loop ends the subscription.
   */
  events(filters: readonly string[] = [], options: AbortOptions = {}): AsyncIterable<Envelope> {
    return subscribe(this.#session.context(options), this.#session.connection, filters)
  }

  /**
   * Events of every namespace from a place on, each with the cursor to go on from; what is missing is a
   * gap. The first thing comes when the daemon has begun. `followEvents` also outlives the daemon.
   *
   * @throws `invalid_argument` for what is no cursor; `unimplemented`, with the first event, from
   * containerd, which keeps none.
   */
  follow(
    from: From,
    filters: readonly string[] = [],
    options: AbortOptions = {},
  ): AsyncIterable<Followed> {
    return follow(this.#session.context(options), this.#session.connection, from, filters)
  }

  /** Who answers. */
  async server(options: AbortOptions = {}): Promise<ServerInfo> {
    const { connection } = this.#session
    const call = callOptions(this.#session.context(options))
    const { version, revision } = await connection.client(Version).version({}, call)
    const { uuid, pid } = await connection.client(Introspection).server({}, call)
    return { uuid, pid: Number(pid), version, revision }
  }

  /** Closes the connection, also for clients that `with` made. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session.connection[Symbol.asyncDispose]()
  }
}
