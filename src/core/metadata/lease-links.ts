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
  requireLease(tx, ctx)
  make(tx, [...leasesOf(namespaceOf(ctx)), ctx.lease, ...path]).put(key, '')
  return true
}

/** @throws `not_found` when `ctx` names a lease that does not exist. */
export function requireLease(tx: ReadBucket, ctx: Context): void {
  if (!ctx.lease || find(tx, [...leasesOf(namespaceOf(ctx)), ctx.lease])) return
  throw notFound('lease does not exist')
}

/** Takes something off the lease of `ctx`, if it is there. */
export function removeFromLease(tx: Bucket, ctx: Context, path: ResourcePath, key: string): void {
  if (!ctx.lease) return
  find(tx, [...leasesOf(namespaceOf(ctx)), ctx.lease, ...path])?.delete(key)
}
