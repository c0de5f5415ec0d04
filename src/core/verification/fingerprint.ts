import type { Context } from '#core/context.ts'
import { digestOf } from '#lib/digest/digest.ts'

import { readPem } from './pem.ts'
import type { Trust } from './rule.ts'

/**
 * Stands for whom a rule trusts: it changes with the rule, and with what is in the files that it names.
 *
 * @throws `failed_precondition` when a file cannot be read.
 */
export async function trustFingerprint(ctx: Context, trust: Trust): Promise<string> {
  const paths =
    trust.type === 'cosign' ? trust.keys : trust.type === 'notation' ? trust.certificates : []
  const files: string[] = []
  for (const path of paths) {
    files.push(...(await readPem(ctx, path)).map(({ text }) => text))
  }
  return digestOf(JSON.stringify([trust, files]))
}
