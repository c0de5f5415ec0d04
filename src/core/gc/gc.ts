import type { Context } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'

/** What one collection did. */
export interface CollectionStats {
  /** Milliseconds the collection took, all in all. */
  readonly elapsedMs: number
  /**
   * Milliseconds of that during which nothing else could run: marking and removing records, in many
   * small parts.
   */
  readonly pausedMs: number
  /** Records removed, by resource type. */
  readonly removed: Readonly<Record<string, number>>
}

/** Decides when to collect. */
export interface Scheduler extends AsyncDisposable {
  /** Collects soon and resolves when it is done. */
  collect(ctx: Context): Promise<CollectionStats>
}

/** Names an object of a collectible resource. */
export interface CollectibleName {
  readonly namespace: string
  readonly key: string
}

/** An object that is not in the database, and what keeps it. One that nothing keeps is garbage. */
export interface CollectibleObject extends CollectibleName {
  /** It stays by itself, as an open stream does that no lease holds. */
  readonly active?: boolean
  /** Kept by this lease of its namespace, until that is deleted or expires. */
  readonly lease?: string | undefined
  /**
   * `containerd.io/gc.bref.*` keeps it as long as the object it names; `containerd.io/gc.ref.*` keeps
   * what it names as long as this one is kept; `containerd.io/gc.root` makes it stay.
   */
  readonly labels?: Labels
}

/**
 * A kind of short-lived objects that take part in marking and sweeping though they are not in the
 * database: streams, mounts. Source: upstream `core/metadata/gc.go`, `Collector`.
 */
export interface CollectibleResource {
  /**
   * `stream`, `mount`, …: what objects of the database call it in their labels, as in
   * `containerd.io/gc.ref.stream`.
   */
  readonly type: string
  /**
   * Begins a collection. When it fails, objects of this type are left for the next collection; all
   * others are collected.
   */
  startCollection(ctx: Context): Promise<ResourceCollection>
}

/**
 * One collection's view of a resource. It is disposed at the end, whether or not `remove` was called.
 *
 * Requests are not to wait for it: `objects` is read in slices, over many turns. Instead the resource
 * remembers, from the start until it is disposed, what is made, leased or relabelled, and leaves that
 * alone even if `remove` names it.
 */
export interface ResourceCollection extends AsyncDisposable {
  /** Every object there was at the start. Read once. */
  readonly objects: Iterable<CollectibleObject>
  /**
   * Removes what nothing keeps. Called once, after the records of the database are gone, also when
   * there is nothing to remove. A failure is logged and fails nothing else.
   */
  remove(garbage: readonly CollectibleName[]): Promise<void>
}
