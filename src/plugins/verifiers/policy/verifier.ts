import { type Context, withTimeout } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { judge, type Passed, ruleText, unreadable, type Verdict } from '#core/verification/judge.ts'
import { parsePolicy } from '#core/verification/parse-policy.ts'
import { repositoriesOf } from '#core/verification/repository-name.ts'
import { type Policy, type Rule, ruleFor } from '#core/verification/rule.ts'
import { trustFingerprint } from '#core/verification/fingerprint.ts'
import type { Candidate, ImageVerifier, Judgement } from '#core/verification/verification.ts'
import { digestFault } from '#lib/digest/digest.ts'
import { deadlineExceeded } from '#lib/errors/errors.ts'
import { parseDuration } from '#lib/go/duration.ts'

import type { PolicyConfig } from './plugin.ts'
import { VerifiedImages } from './verified-images.ts'

/**
 * Verifies what is pulled by a policy. With `enforceOnImageCreate` it keeps what it has verified, and
 * admits a name for nothing else: the rule, the repository and the digest must be the same, and the keys.
 */
export class PolicyVerifier implements Required<ImageVerifier> {
  readonly #policy: Policy
  readonly #timeoutMs: number
  /** What has been verified; undefined when nobody asks. */
  readonly #verified: VerifiedImages | undefined

  private constructor(policy: Policy, timeoutMs: number, verified: VerifiedImages | undefined) {
    this.#policy = policy
    this.#timeoutMs = timeoutMs
    this.#verified = verified
  }

  /** @throws `invalid_argument` for a policy that is wrong. */
  static open(config: PolicyConfig, rootDir: string): PolicyVerifier {
    const verified = config.enforceOnImageCreate ? new VerifiedImages(rootDir) : undefined
    return new PolicyVerifier(parsePolicy(config), parseDuration(config.timeout), verified)
  }

  async verify(ctx: Context, candidate: Candidate): Promise<Judgement> {
    const verdict = await this.#judge(ctx, candidate)
    if (!verdict.ok) return verdict
    for (const passed of verdict.passed) await this.#record(ctx, passed, candidate.target)
    return { ok: true, reason: `image policy: ${verdict.reason}` }
  }

  async #judge(ctx: Context, candidate: Candidate): Promise<Verdict> {
    try {
      return await judge(withTimeout(ctx, this.#timeoutMs), this.#policy, candidate)
    } catch (err) {
      if (ctx.signal.aborted || !(err instanceof Error && err.name === 'TimeoutError')) throw err
      const what = `image policy: the signatures of ${JSON.stringify(candidate.name)}`
      throw deadlineExceeded(`${what} were not read within timeout, ${this.#timeoutMs} ms`, {
        cause: err,
      })
    }
  }

  async #record(
    ctx: Context,
    { repository, rule, until }: Passed,
    { digest, mediaType }: Descriptor,
  ): Promise<void> {
    if (this.#verified === undefined || rule === undefined || !isSigned(rule)) return
    const trust = await trustFingerprint(ctx, rule.trust)
    await this.#verified.add({ trust, repository, digest, mediaType, until })
  }

  async admit(ctx: Context, name: string, target: Descriptor): Promise<Judgement> {
    if (this.#verified === undefined) return { ok: true, reason: 'image policy: not asked' }
    // The name is the content itself: Kubernetes names images so, beside other names.
    if (digestFault(name) === undefined) return { ok: true, reason: 'image policy: a digest' }
    const repositories = repositoriesOf(name)
    if (repositories === undefined) return { ok: false, reason: unreadable(name) }
    for (const repository of repositories) {
      const why = await this.#whyNot(ctx, this.#verified, repository, target)
      if (why !== undefined) {
        return {
          ok: false,
          reason: `image policy: ${JSON.stringify(name)}, ${target.digest}: ${why}`,
        }
      }
    }
    return { ok: true, reason: 'image policy: verified before' }
  }

  async #whyNot(
    ctx: Context,
    verified: VerifiedImages,
    repository: string,
    { digest, mediaType }: Descriptor,
  ): Promise<string | undefined> {
    const rule = ruleFor(this.#policy, repository)
    const type = rule?.trust.type ?? this.#policy.byDefault
    if (type === 'allow') return undefined
    if (type === 'deny' || rule === undefined) {
      return rule
        ? `${ruleText(rule)} denies it`
        : 'no rule is about it, and the default is to deny'
    }
    const trust = await trustFingerprint(ctx, rule.trust)
    if (await verified.has({ trust, repository, digest, mediaType })) return undefined
    return `${ruleText(rule)} asks for a ${type} signature, and no pull by the daemon has verified one for ${repository}; pull it with the transfer service`
  }
}

const isSigned = ({ trust }: Rule): boolean => trust.type === 'cosign' || trust.type === 'notation'
