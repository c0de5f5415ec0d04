import type { Pattern } from './pattern.ts'

/*
 * A policy, and how a name is judged by it:
 *
 *   docker.io/library/alpine:3.20
 *        │ repositoriesOf: one spelling, no tag, no digest
 *        ▼
 *   docker.io/library/alpine ──► the first rule one of whose patterns matches ──► its trust
 *                                   none matches ──► default
 *
 * An image has several names: the reference it is pulled by, and those it gets. Each is judged, and
 * one that is refused refuses the image.
 */

/** A signature of cosign, by one of some keys. */
export interface CosignTrust {
  readonly type: 'cosign'
  /** Files with public keys; one of them is enough. */
  readonly keys: readonly string[]
  /**
   * The repository that a signature must say it is for: `repository` for the one of the name that is
   * judged, `any` to take what it says for nothing, or a repository.
   */
  readonly identity: string
}

/** A part of a distinguished name: its type, `O`, and its value. */
export type NamePart = readonly [type: string, value: string]

/** A signature of notation, by somebody whom one of some authorities has certified. */
export interface NotationTrust {
  readonly type: 'notation'
  /** Files with certificates of authorities. */
  readonly certificates: readonly string[]
  /** What must be in the subject of the signer's certificate: all parts of one of them; `any` for no matter what. */
  readonly identities: 'any' | readonly (readonly NamePart[])[]
}

export type Trust =
  | CosignTrust
  | NotationTrust
  /** Nothing is looked at. */
  | { readonly type: 'allow' }
  /** Nothing is good enough. */
  | { readonly type: 'deny' }

export interface Rule {
  /** What it is called in messages. */
  readonly name: string
  readonly images: readonly Pattern[]
  readonly trust: Trust
}

export interface Policy {
  /** For what no rule is about. */
  readonly byDefault: 'allow' | 'deny'
  /** The first that matches decides. */
  readonly rules: readonly Rule[]
}

/** What decides about a repository: a rule, or that there is none. */
export const ruleFor = (policy: Policy, repository: string): Rule | undefined =>
  policy.rules.find(({ images }) => images.some((pattern) => pattern.matches(repository)))
