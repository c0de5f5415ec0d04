import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Candidate, ImageVerifier, Judgement } from '#core/verification/verification.ts'
import { describe } from '#lib/errors/errors.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ImageVerifierPlugin } from '#plugins/types.ts'

/** `[plugins."io.containerd.image-verifier.v1.policy"]` in config.toml. */
export interface PolicyConfig {
  readonly default: string
  /** Tables; `#core/verification/parse-policy.ts` reads them. */
  readonly rules: readonly object[]
  readonly timeout: string
  readonly enforceOnImageCreate: boolean
}

/** A policy that asks for nothing. */
export const defaultPolicy: PolicyConfig = {
  default: 'allow',
  rules: [],
  timeout: '60s',
  enforceOnImageCreate: false,
}

/**
 * Signatures of images, by the rules of the configuration. What reads them is loaded with the first
 * rule; without rules, and where everything is allowed, it does nothing.
 */
export const policyPlugin = definePlugin({
  type: ImageVerifierPlugin,
  id: 'policy',
  config: defaultPolicy,
  describe: {
    default: 'What becomes of images that no rule is about: `allow` or `deny`.',
    rules:
      'Which images must be signed, and by whom, as a list of tables; see [verification.md](verification.md).',
    timeout: 'How long the signatures of one image may take to be found and read.',
    enforceOnImageCreate:
      'Also refuse names that clients give to content which no pull of the daemon has verified.',
  },
  live: ['default', 'rules', 'timeout', 'enforceOnImageCreate'],
  async init({ ctx, config, rootDir }) {
    const plugin = new PolicyPlugin(rootDir)
    try {
      await plugin.configure(config)
    } catch (err) {
      // A plugin that fails is left out, and then nothing would be verified: so this one refuses.
      ctx.log.error('the image policy is wrong, so every image is refused', {
        error: describe(err),
      })
      plugin.refuse(describe(err), config.enforceOnImageCreate)
    }
    return plugin
  },
  async reload(plugin, config) {
    if (plugin instanceof PolicyPlugin) await plugin.configure(config)
  },
})

/** The verifier of the latest configuration. */
export class PolicyPlugin implements ImageVerifier {
  readonly #rootDir: string
  #verifier: Required<ImageVerifier> = idle

  constructor(rootDir: string) {
    this.#rootDir = rootDir
  }

  /** @throws `invalid_argument` for a policy that is wrong; then the one before stays. */
  async configure(config: PolicyConfig): Promise<void> {
    if (config.default === 'allow' && config.rules.length === 0) {
      this.#verifier = idle
      return
    }
    const { PolicyVerifier } = await import('./verifier.ts')
    this.#verifier = PolicyVerifier.open(config, this.#rootDir)
  }

  /** Refuses what is pulled, and, if `enforced`, names that are given. */
  refuse(why: string, enforced: boolean): void {
    const refused = { ok: false, reason: `${why}; until that is mended every image is refused` }
    this.#verifier = {
      verify: async () => await Promise.resolve(refused),
      admit: async () => await Promise.resolve(enforced ? refused : allowed),
    }
  }

  async verify(ctx: Context, candidate: Candidate): Promise<Judgement> {
    return await this.#verifier.verify(ctx, candidate)
  }

  async admit(ctx: Context, name: string, target: Descriptor): Promise<Judgement> {
    return await this.#verifier.admit(ctx, name, target)
  }
}

const allowed: Judgement = { ok: true, reason: 'image policy: there are no rules' }

const idle: Required<ImageVerifier> = {
  verify: async () => await Promise.resolve(allowed),
  admit: async () => await Promise.resolve(allowed),
}
