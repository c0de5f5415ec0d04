import { createHash, hash } from 'node:crypto'

import { invalidArgument } from '#lib/errors/errors.ts'

/** Hash functions a digest may name, with the number of hex digits each gives. */
const hexLengths = { sha256: 64, sha384: 96, sha512: 128 } as const

/** The name of a hash function, as it stands before the colon. */
export type Algorithm = keyof typeof hexLengths

/** Every supported algorithm; the first is the default. */
export const algorithms: readonly Algorithm[] = ['sha256', 'sha384', 'sha512']

/** The parts of `sha256:9f86d0…`. */
export interface Digest {
  readonly algorithm: Algorithm
  /** Lower case. */
  readonly hex: string
}

/** A hash under way. */
export interface Hasher {
  readonly algorithm: Algorithm
  update(bytes: Uint8Array): void
  /** The digest of everything so far, as text; more may follow. */
  digest(): string
}

/** Whether `name` is an algorithm this program can compute. */
export const isAlgorithm = (name: string): name is Algorithm => Object.hasOwn(hexLengths, name)

/**
 * Splits a digest and checks it. Source: OCI image-spec `descriptor.md`, go-digest `digest.go`.
 *
 * @throws `invalid_argument` in go-digest's words: bad format, unknown algorithm, or wrong length.
 */
export function parseDigest(text: string): Digest {
  const fault = digestFault(text)
  if (fault !== undefined) throw invalidArgument(fault)
  const colon = text.indexOf(':')
  const algorithm = text.slice(0, colon)
  if (!isAlgorithm(algorithm)) throw invalidArgument(faults.algorithm)
  return { algorithm, hex: text.slice(colon + 1) }
}

/** What is wrong with `text` as a digest, in go-digest's words; undefined when nothing is. */
export function digestFault(text: string): string | undefined {
  const colon = text.indexOf(':')
  if (colon <= 0 || colon + 1 === text.length) return faults.format
  const algorithm = text.slice(0, colon)
  if (!isAlgorithm(algorithm)) return anyDigest.test(text) ? faults.algorithm : faults.format
  const hex = text.slice(colon + 1)
  if (Buffer.byteLength(hex) !== hexLengths[algorithm]) return faults.length
  return lowerHex.test(hex) ? undefined : faults.format
}

const faults = {
  format: 'invalid checksum digest format',
  algorithm: 'unsupported digest algorithm',
  length: 'invalid checksum digest length',
} as const

const anyDigest = /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$/
const lowerHex = /^[a-f0-9]+$/

/** Begins a hash. */
export function newHasher(algorithm: Algorithm = 'sha256'): Hasher {
  const state = createHash(algorithm)
  return {
    algorithm,
    update: (bytes) => void state.update(bytes),
    digest: () => `${algorithm}:${state.copy().digest('hex')}`,
  }
}

/** The digest of `bytes`, or of the UTF-8 form of a text. */
export const digestOf = (bytes: Uint8Array | string, algorithm: Algorithm = 'sha256'): string =>
  `${algorithm}:${hash(algorithm, bytes, 'hex')}`
