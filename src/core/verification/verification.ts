import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Fetcher } from '#core/remotes/remotes.ts'

/** What is to be judged: a name, and what a registry says it means. */
export interface Candidate {
  readonly name: string
  readonly target: Descriptor
  /** Reads what is beside the image: its signatures. */
  readonly fetcher: Fetcher
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
}
