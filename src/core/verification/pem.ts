import type { Context } from '#core/context.ts'
import { readSmallFile } from '#core/remotes/small-file.ts'
import { failedPrecondition } from '#lib/errors/errors.ts'

/** One block of a PEM file. */
export interface PemBlock {
  /** `PUBLIC KEY`, `CERTIFICATE`, … */
  readonly label: string
  /** With its first and last line. */
  readonly text: string
}

const block = /-----BEGIN ([A-Z0-9 ]+)-----[A-Za-z0-9+/=\s]*-----END \1-----/g

/**
 * The blocks of a file that a policy names. Read each time it is needed: who replaces a key does not
 * have to restart anything.
 *
 * @throws `failed_precondition` when it cannot be read or has none.
 */
export async function readPem(ctx: Context, path: string): Promise<readonly PemBlock[]> {
  const text = await readSmallFile(path, ctx.signal).catch((err: unknown) => {
    ctx.signal.throwIfAborted()
    throw failedPrecondition(`the policy names file "${path}", which cannot be read`, {
      cause: err,
    })
  })
  const blocks = [...text.matchAll(block)].map(([whole, label = '']) => ({ label, text: whole }))
  if (blocks.length > 0) return blocks
  throw failedPrecondition(`file "${path}" of the policy has no PEM block, "-----BEGIN …"`)
}
