import { type Context, namespaceOf } from '#core/context.ts'
import { notFound } from '#lib/errors/errors.ts'
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'

import { find, leasesOf, make } from './schema.ts'

/** Where in a lease something is listed: `['content']`, `['snapshots', 'overlayfs']`. */
type ResourcePath = readonly string[]

/**
 * Adds something to the lease of `ctx`, if there is one; answers whether there is.
 *
 * @throws `not_found` when the lease does not exist.
 */
export function addToLease(tx: Bucket, ctx: Context, path: ResourcePath, key: string): boolean {
  if (!ctx.lease) return false
  const lease = leaseOf(tx, ctx, ctx.lease)
  if (!lease) throw missingLease()
  make(lease, path).put(key, '')
  return true
}

/** @throws `not_found` when `ctx` names a lease that does not exist. */
export function requireLease(tx: ReadBucket, ctx: Context): void {
  if (ctx.lease && !leaseOf(tx, ctx, ctx.lease)) throw missingLease()
}

/**
 * Has the lease of `ctx` hold `key` in the place of `from`. What has been done already cannot be refused
 * for a lease that was deleted meanwhile: that deletion comes after it, then, and lets go of both.
 */
export function moveInLease(
  tx: Bucket,
  ctx: Context,
  path: ResourcePath,
  { from, key }: { readonly from: string; readonly key: string },
): void {
  const lease = ctx.lease ? leaseOf(tx, ctx, ctx.lease) : undefined
  if (!lease) return
  const held = make(lease, path)
  held.put(key, '')
  held.delete(from)
}

/** Takes something off the lease of `ctx`, if it is there. */
export function removeFromLease(tx: Bucket, ctx: Context, path: ResourcePath, key: string): void {
  if (!ctx.lease) return
  find(tx, [...leasesOf(namespaceOf(ctx)), ctx.lease, ...path])?.delete(key)
}

function leaseOf(tx: Bucket, ctx: Context, id: string): Bucket | undefined
function leaseOf(tx: ReadBucket, ctx: Context, id: string): ReadBucket | undefined
function leaseOf(tx: ReadBucket, ctx: Context, id: string): ReadBucket | undefined {
  return find(tx, [...leasesOf(namespaceOf(ctx)), id])
}

const missingLease = (): Error => notFound('lease does not exist')
