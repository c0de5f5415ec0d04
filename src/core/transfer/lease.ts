import { randomBytes } from 'node:crypto'

import { type Context, forCleanup } from '#core/context.ts'
import type { LeaseManager } from '#core/leases/leases.ts'
import { describe } from '#lib/errors/errors.ts'

/** A transfer that was killed holds what it had loaded for so long, in ms: a day. */
const expireAfter = 24 * 60 * 60 * 1000

/** What happens under a lease: `ctx` is the same with it. */
export interface Leased extends AsyncDisposable {
  readonly ctx: Context
}

/**
 * Holds what is made in `ctx` until it is disposed: with the lease that `ctx` has, which stays, or
 * with one of its own. Source: upstream `core/transfer/local/transfer.go`, `withLease`.
 */
export async function underLease(ctx: Context, leases: LeaseManager): Promise<Leased> {
  if (ctx.lease) return { ctx, [Symbol.asyncDispose]: () => Promise.resolve() }
  const expires = new Date(Date.now() + expireAfter).toISOString().replace(/\.\d+/, '')
  const id = `${process.hrtime.bigint() % 1_000_000_000n}-${randomBytes(3).toString('base64url')}`
  const lease = await leases.create(ctx, { id, labels: { 'containerd.io/gc.expire': expires } })
  return {
    ctx: { ...ctx, lease: lease.id },
    async [Symbol.asyncDispose]() {
      try {
        await leases.delete(forCleanup(ctx), lease.id)
      } catch (err) {
        ctx.log.warn('cannot release the lease of a transfer, which expires', {
          lease: lease.id,
          error: describe(err),
        })
      }
    },
  }
}
