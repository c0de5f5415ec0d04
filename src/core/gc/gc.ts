import type { Context } from '#core/context.ts'

/** What one collection did. */
export interface CollectionStats {
  /** Milliseconds the collection took, all in all. */
  readonly elapsedMs: number
  /** Milliseconds of that during which nothing else could run: marking and removing records. */
  readonly pausedMs: number
  /** Records removed, by resource type. */
  readonly removed: Readonly<Record<string, number>>
}

/** Decides when to collect. */
export interface Scheduler extends AsyncDisposable {
  /** Collects soon and resolves when it is done. */
  collect(ctx: Context): Promise<CollectionStats>
}
