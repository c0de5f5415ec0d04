import type { Context } from '#core/context.ts'
import type { Candidate, ImageVerifier, Judgement } from '#core/verification/verification.ts'
import { codeOf, CodedError, permissionDenied } from '#lib/errors/errors.ts'

/**
 * Asks all verifiers. @throws `permission_denied` when one says no; with the code of its error when one
 * cannot tell.
 */
export async function askVerifiers(
  ctx: Context,
  verifiers: ReadonlyMap<string, ImageVerifier>,
  candidate: Candidate,
): Promise<void> {
  const { name, target } = candidate
  const image = `pull of ${name} with digest ${target.digest}`
  for (const [id, verifier] of verifiers) {
    const { ok, reason } = await judgement(
      ctx,
      verifier,
      candidate,
      (why) => `blocking ${image}: image verifier ${id} returned error: ${why}`,
    )
    const fields = { name, digest: target.digest, verifier: id, ok, reason }
    if (!ok) {
      ctx.log.warn('image verifier blocked pull', fields)
      throw permissionDenied(`image verifier ${id} blocked ${image} for reason: ${reason}`)
    }
    ctx.log.debug('image verifier allowed pull', fields)
  }
}

async function judgement(
  ctx: Context,
  verifier: ImageVerifier,
  candidate: Candidate,
  message: (why: string) => string,
): Promise<Judgement> {
  try {
    return await verifier.verify(ctx, candidate)
  } catch (err) {
    ctx.signal.throwIfAborted()
    const why = err instanceof Error ? err.message : String(err)
    throw new CodedError(codeOf(err) ?? 'unknown', message(why), { cause: err })
  }
}
