import type { Mount } from '#core/mount/mount.ts'
import type { Info, SnapshotOptions, Usage } from '#core/snapshots/snapshotter.ts'
import type { AbortOptions } from '#lib/async/mutex.ts'
import type { RemoteSnapshotter } from '#proxy/snapshots.ts'

import type { Session } from './session.ts'

/** The snapshots of one namespace in one snapshotter. Errors are those of `Snapshotter`. */
export class Snapshots {
  readonly #session: Session
  readonly #snapshotter: RemoteSnapshotter

  constructor(session: Session, snapshotter?: string) {
    this.#session = session
    this.#snapshotter = session.snapshotter(snapshotter)
  }

  /** Those that match any of `filters`; all without one. */
  list(filters: readonly string[] = [], options: AbortOptions = {}): AsyncIterable<Info> {
    return this.#snapshotter.list(this.#session.context(options), filters)
  }

  async stat(key: string, options: AbortOptions = {}): Promise<Info> {
    return await this.#snapshotter.stat(this.#session.context(options), key)
  }

  async usage(key: string, options: AbortOptions = {}): Promise<Usage> {
    return await this.#snapshotter.usage(this.#session.context(options), key)
  }

  /** How the daemon's machine would mount it. */
  async mounts(key: string, options: AbortOptions = {}): Promise<readonly Mount[]> {
    return await this.#snapshotter.mounts(this.#session.context(options), key)
  }

  async prepare(
    key: string,
    parent = '',
    options: AbortOptions & SnapshotOptions = {},
  ): Promise<readonly Mount[]> {
    return await this.#snapshotter.prepare(this.#session.context(options), key, parent, options)
  }

  async view(
    key: string,
    parent = '',
    options: AbortOptions & SnapshotOptions = {},
  ): Promise<readonly Mount[]> {
    return await this.#snapshotter.view(this.#session.context(options), key, parent, options)
  }

  async commit(
    name: string,
    key: string,
    options: AbortOptions & SnapshotOptions = {},
  ): Promise<void> {
    await this.#snapshotter.commit(this.#session.context(options), name, key, options)
  }

  async remove(key: string, options: AbortOptions = {}): Promise<void> {
    await this.#snapshotter.remove(this.#session.context(options), key)
  }
}
