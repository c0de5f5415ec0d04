import type { Context } from '#core/context.ts'
import { CodedError, codeOf, describe } from '#lib/errors/errors.ts'

import { verifyCosign } from './cosign/cosign.ts'
import { Evidence } from './evidence.ts'
import { verifyNotation } from './notation/notation.ts'
import type { Outcome } from './outcome.ts'
import { repositoriesOf } from './repository-name.ts'
import { type Policy, type Rule, ruleFor, type Trust } from './rule.ts'
import type { Candidate } from './verification.ts'

/** That one repository may have the image, and why. */
export interface Passed {
  readonly repository: string
  /** Undefined when no rule is about it. */
  readonly rule: Rule | undefined
  readonly why: string
  /** When it is over, if it ends. */
  readonly until?: Date | undefined
}

/** The answer of a policy. */
export type Verdict =
  | { readonly ok: true; readonly reason: string; readonly passed: readonly Passed[] }
  | { readonly ok: false; readonly reason: string }

/**
 * Judges an image by a policy: each of its names, in each reading that it has. The first that is refused
 * ends it.
 *
 * @throws `failed_precondition` when a file of the policy cannot be read; what the registry throws. The
 * message names the image and the rule.
 */
export async function judge(ctx: Context, policy: Policy, candidate: Candidate): Promise<Verdict> {
  const evidence = new Evidence(candidate)
  const passed: Passed[] = []
  for (const name of new Set([candidate.name, ...candidate.names])) {
    const repositories = repositoriesOf(name)
    if (repositories === undefined) return { ok: false, reason: unreadable(name) }
    for (const repository of repositories) {
      if (passed.some((other) => other.repository === repository)) continue
      const rule = ruleFor(policy, repository)
      const outcome = await outcomeOf(ctx, policy, rule, evidence, repository)
      if (!outcome.ok) {
        return { ok: false, reason: refusal(name, repository, candidate, rule, outcome.found) }
      }
      passed.push({ repository, rule, why: outcome.by, until: outcome.until })
    }
  }
  const reason = passed
    .map(({ repository, rule, why }) => `${repository}: ${ruleText(rule)}: ${why}`)
    .join('; ')
  return { ok: true, reason, passed }
}

/** Why a name that cannot be read is refused. */
export const unreadable = (name: string): string =>
  `image policy: ${JSON.stringify(name)} is not the name of an image in a registry, so no rule can be found for it; use a name such as "docker.io/library/alpine:3.20"`

/** A rule in words. */
export const ruleText = (rule: Rule | undefined): string =>
  rule === undefined ? 'no rule' : `rule ${JSON.stringify(rule.name)}`

async function outcomeOf(
  ctx: Context,
  { byDefault }: Policy,
  rule: Rule | undefined,
  evidence: Evidence,
  repository: string,
): Promise<Outcome> {
  const trust: Trust = rule?.trust ?? { type: byDefault }
  if (trust.type === 'allow') return { ok: true, by: 'no signature is asked for' }
  if (trust.type === 'deny') return { ok: false, found: '' }
  try {
    return trust.type === 'cosign'
      ? await verifyCosign(ctx, evidence, trust, repository)
      : await verifyNotation(ctx, evidence, trust)
  } catch (err) {
    ctx.signal.throwIfAborted()
    const message = `image policy: ${ruleText(rule)}: cannot verify ${repository}@${evidence.target.digest}: ${describe(err)}`
    throw new CodedError(codeOf(err) ?? 'unknown', message, { cause: err })
  }
}

function refusal(
  name: string,
  repository: string,
  { target }: Candidate,
  rule: Rule | undefined,
  found: string,
): string {
  const spelled = name === repository ? '' : ` (${repository})`
  const what = `image policy: ${JSON.stringify(name)}${spelled}, ${target.digest}`
  if (rule === undefined) {
    return `${what}: no rule is about it, and the default is to deny; add a rule with images = [${JSON.stringify(repository)}]`
  }
  if (rule.trust.type === 'deny') return `${what}: ${ruleText(rule)} denies it`
  return `${what}: ${ruleText(rule)} asks for ${wanted(rule.trust)}; found ${found}. ${advice(rule.trust)}`
}

function wanted(trust: Trust): string {
  if (trust.type === 'cosign') {
    return `a cosign signature with the key in ${trust.keys.join(' or ')}, beside the image`
  }
  return trust.type === 'notation'
    ? `a notation signature under the certificates in ${trust.certificates.join(' or ')}, beside the image`
    : 'nothing'
}

const advice = (trust: Trust): string =>
  trust.type === 'cosign'
    ? 'Sign it with "cosign sign --key", or pull one that is signed'
    : 'Sign it with "notation sign", or pull one that is signed'
