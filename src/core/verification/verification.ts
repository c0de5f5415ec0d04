import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Remotes } from '#core/remotes/remotes.ts'

/** What is to be judged: a reference, and what a registry says it means. */
export interface Candidate {
  /** The reference it is pulled by. */
  readonly name: string
  /** Every name it is to get here; they need not be like `name`. */
  readonly names: readonly string[]
  readonly target: Descriptor
  /** Reads what is beside the image, in the registry of `name`: its signatures. */
  readonly remotes: Remotes
}

export interface Judgement {
  readonly ok: boolean
  /** Why, for people; also when it is ok. */
  readonly reason: string
}

/**
 * Decides whether an image may be pulled. All verifiers are asked before anything is loaded, and one
 * that says no, or that cannot tell, is enough: the image gets no name.
 *
 * Source: upstream `pkg/imageverifier`.
 */
export interface ImageVerifier {
  /** @throws when it cannot tell: that refuses the image, too. */
  verify(ctx: Context, candidate: Candidate): Promise<Judgement>
  /**
   * Whether `name` may be given to content that is here, whoever brought it: the image service asks
   * before it creates an image or changes its target. It does not ask a registry. Absent: it may.
   *
   * @throws when it cannot tell: that refuses the name, too.
   */
  admit?(ctx: Context, name: string, target: Descriptor): Promise<Judgement>
}
