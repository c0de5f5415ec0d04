import { rmdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Context } from '#core/context.ts'
import type { ApplyOptions, CompareOptions, Differ } from '#core/diff/diff.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { LeaseManager } from '#core/leases/leases.ts'
import type { Mount } from '#core/mount/mount.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { hasCode } from '#lib/errors/errors.ts'

/** How often it is looked whether a layer was committed, in ms. */
const pollMs = 20
/** How long a client may take to commit what was unpacked for it before others unpack it too, in ms. */
const commitMs = 10_000
/** How long a commit may take from its first step to its last, in ms. */
const settleMs = 1000

/** Where extractions happen. */
export interface Views {
  readonly snapshotters: ReadonlyMap<string, Snapshotter>
  readonly leases: Pick<LeaseManager, 'addResource'>
}

/**
 * A snapshot that a client made to unpack a layer into, and will commit under its chain ID:
 * `extract-<ns>-<4 letters> <chain ID>`, as containerd's clients have it. BuildKit has `extract-<25 letters>
 * <chain ID>`, and commits under a name of its own.
 */
interface Extraction {
  readonly snapshotter: string
  readonly key: string
  readonly chainId: string
}

/** One who unpacks, for others who want the same. */
interface Leader {
  readonly mounts: readonly Mount[]
  readonly applied: Promise<Descriptor>
}

/**
 * A differ that unpacks a layer once when several clients want it at the same time, on the same layers.
 *
 * Each client has a snapshot of its own, and only one of them can be committed under the chain ID. So
 * the others wait until that has happened, and are answered as if theirs had been filled: their commit
 * says `already_exists` next, which they know. The directory of such a snapshot is taken away, so that
 * it can never be committed with nothing in it. Whoever waits in vain unpacks the layer after all.
 *
 *     client A   prepare ── apply ════════ commit
 *     client B   prepare ── apply ················ (as A) ── commit: already exists
 *
 * The same is what has the same chain ID, blob, snapshotter and namespace. No more than that: the answer
 * says what is in the blob that was asked for, and a chain ID is only the client's word for it, so one
 * blob never answers for another; and a namespace sees nothing of another one's snapshots, also not that
 * they are there.
 */
export class ApplyOnce implements Differ {
  readonly #differ: Differ
  readonly #views: Views
  readonly #leaders = new Map<string, Leader>()

  constructor(differ: Differ, views: Views) {
    this.#differ = differ
    this.#views = views
  }

  async apply(
    ctx: Context,
    layer: Descriptor,
    mounts: readonly Mount[],
    options: ApplyOptions = {},
  ): Promise<Descriptor> {
    const { payloads = {} } = options
    // What it goes on is asked later: some clients say it only when they commit.
    const wanted = [ctx.namespace, layer.mediaType, layer.digest, ...Object.keys(payloads)].join(
      ' ',
    )
    for (let leader = this.#leaders.get(wanted); leader; ) {
      const taken = await this.#follow(ctx, leader, mounts)
      if (taken) return taken
      const next = this.#leaders.get(wanted)
      if (next === leader) break
      leader = next
    }
    return await this.#lead(wanted, {
      mounts,
      applied: this.#differ.apply(ctx, layer, mounts, options),
    })
  }

  async compare(
    ctx: Context,
    lower: readonly Mount[],
    upper: readonly Mount[],
    options?: CompareOptions,
  ): Promise<Descriptor> {
    return await this.#differ.compare(ctx, lower, upper, options)
  }

  /** Others may follow until it should have been committed. */
  async #lead(wanted: string, leader: Leader): Promise<Descriptor> {
    this.#leaders.set(wanted, leader)
    const forget = (): void => {
      if (this.#leaders.get(wanted) === leader) this.#leaders.delete(wanted)
    }
    try {
      const applied = await leader.applied
      setTimeout(forget, commitMs).unref()
      return applied
    } catch (err) {
      forget()
      throw err
    }
  }

  /** @returns what the other made, once it is committed; undefined when it will not be, or is something else. */
  async #follow(
    ctx: Context,
    leader: Leader,
    mounts: readonly Mount[],
  ): Promise<Descriptor | undefined> {
    const own = await this.#extractionInto(ctx, mounts)
    if (!own) return undefined
    const other = await this.#extractionInto(ctx, leader.mounts)
    // Without one it was committed just now, or given up.
    const same = other?.chainId === own.chainId && other.snapshotter === own.snapshotter
    if (other && !same) return undefined
    const applied = await raceAbort(leader.applied, ctx.signal).catch(() => undefined)
    ctx.signal.throwIfAborted()
    if (!applied) return undefined
    const there = (await this.#committed(ctx, own, other)) && (await this.#hold(ctx, own))
    return there && (await takeAway(directoryOf(mounts))) ? applied : undefined
  }

  /** The extraction that has its files where `mounts` say. */
  async #extractionInto(ctx: Context, mounts: readonly Mount[]): Promise<Extraction | undefined> {
    const directory = directoryOf(mounts)
    if (directory === undefined) return undefined
    for (const [snapshotter, view] of this.#views.snapshotters) {
      for await (const { kind, name } of view.list(ctx)) {
        const [, chainId] = /^extract-\d+-[\w-]{4} (\S+)$/.exec(name) ?? []
        if (kind !== 'active' || chainId === undefined) continue
        const its = await view.mounts(ctx, name).catch(() => [])
        if (directoryOf(its) === directory) return { snapshotter, key: name, chainId }
      }
    }
    return undefined
  }

  /** Whether the layer comes to be there, as long as clients may take for that. `other` is to become it. */
  async #committed(ctx: Context, own: Extraction, other: Extraction | undefined): Promise<boolean> {
    const began = performance.now()
    let seen = began
    for (let now = began; now - began < commitMs; now = performance.now()) {
      if (await this.#stat(ctx, own, own.chainId)) return true
      if (other && (await this.#stat(ctx, other, other.key))) seen = now
      // While it is being committed, it is neither.
      else if (now - seen > settleMs) return false
      await sleep(pollMs, undefined, { signal: ctx.signal })
    }
    return false
  }

  /** Has the lease of the caller keep the layer. @returns whether it is there still. */
  async #hold(ctx: Context, own: Extraction): Promise<boolean> {
    if (ctx.lease === undefined) return true
    const resource = { type: `snapshots/${own.snapshotter}`, id: own.chainId }
    await this.#views.leases.addResource(ctx, ctx.lease, resource)
    return await this.#stat(ctx, own, own.chainId)
  }

  async #stat(ctx: Context, { snapshotter }: Extraction, key: string): Promise<boolean> {
    try {
      await this.#views.snapshotters.get(snapshotter)?.stat(ctx, key)
      return true
    } catch (err) {
      if (!hasCode(err, 'not_found')) throw err
      return false
    }
  }
}

const valueOf = (options: readonly string[], key: string): string | undefined =>
  options.findLast((option) => option.startsWith(`${key}=`))?.slice(key.length + 1)

/** Where the files of a snapshot are that is mounted so; undefined where it is not to be seen. */
function directoryOf(mounts: readonly Mount[]): string | undefined {
  const [only] = mounts
  if (!only || mounts.length > 1) return undefined
  if (only.type === 'bind') return only.options.includes('ro') ? undefined : only.source
  return only.type === 'overlay' ? valueOf(only.options, 'upperdir') : undefined
}

/** Removes a directory that nothing is in. @returns whether it is gone. */
async function takeAway(directory: string | undefined): Promise<boolean> {
  if (directory === undefined) return false
  try {
    await rmdir(directory)
    return true
  } catch {
    // Somebody has put something there: it is no longer ours to take.
    return false
  }
}
