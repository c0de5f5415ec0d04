import { constants, createPublicKey, type KeyObject, verify } from 'node:crypto'

import type { Context } from '#core/context.ts'
import { readPem } from '#core/verification/pem.ts'
import { failedPrecondition } from '#lib/errors/errors.ts'

/** A public key that a rule trusts. */
export interface TrustedKey {
  readonly path: string
  /** Whether `signature` of `data` was made with its private half. */
  verifies(data: Uint8Array, signature: Uint8Array): boolean
}

const labels = new Set(['PUBLIC KEY', 'RSA PUBLIC KEY'])

/**
 * The keys in the files of a rule.
 *
 * @throws `failed_precondition` for a file that cannot be read, or has anything else in it.
 */
export async function readKeys(
  ctx: Context,
  paths: readonly string[],
): Promise<readonly TrustedKey[]> {
  const keys: TrustedKey[] = []
  for (const path of paths) {
    for (const { label, text } of await readPem(ctx, path)) {
      if (!labels.has(label)) {
        throw failedPrecondition(`file "${path}" of the policy has a ${label}, not a PUBLIC KEY`)
      }
      keys.push(keyOf(path, text))
    }
  }
  return keys
}

function keyOf(path: string, pem: string): TrustedKey {
  const bad = (why: string, options?: ErrorOptions): Error =>
    failedPrecondition(`the public key in file "${path}" of the policy ${why}`, options)
  let key: KeyObject
  try {
    key = createPublicKey(pem)
  } catch (err) {
    throw bad('cannot be read', { cause: err })
  }
  const check = checkFor(key)
  if (typeof check === 'string') throw bad(check)
  return { path, verifies: (data, signature) => holds(() => check(data, signature)) }
}

type Check = (data: Uint8Array, signature: Uint8Array) => boolean

/**
 * How signatures of a key are checked, as sigstore makes them: nothing in a signature says how, so it
 * is the key that decides. With ECDSA cosign hashes with SHA-256 whatever the curve, its newer tools
 * with the hash of the curve's size.
 *
 * Source: sigstore `pkg/signature` (`LoadVerifier`, `algorithm_registry.go`).
 * @returns why a key cannot be used.
 */
function checkFor(key: KeyObject): Check | string {
  const { namedCurve = '', modulusLength = 0 } = key.asymmetricKeyDetails ?? {}
  if (key.asymmetricKeyType === 'ed25519') return (data, sig) => verify(null, data, key, sig)
  if (key.asymmetricKeyType === 'ec') {
    const hashes = Object.hasOwn(curveHashes, namedCurve) ? curveHashes[namedCurve] : undefined
    if (hashes === undefined) return `is on curve ${namedCurve}; P-256, P-384 and P-521 are trusted`
    return (data, sig) => hashes.some((hash) => verify(hash, data, key, sig))
  }
  if (key.asymmetricKeyType !== 'rsa') {
    return `is of type ${key.asymmetricKeyType}; it may be ECDSA, RSA or Ed25519`
  }
  if (modulusLength < 2048) return `has ${modulusLength} bits; an RSA key must have 2048`
  return (data, sig) => paddings.some((padding) => verify('sha256', data, { key, padding }, sig))
}

const curveHashes: Readonly<Record<string, readonly string[]>> = {
  prime256v1: ['sha256'],
  secp384r1: ['sha256', 'sha384'],
  secp521r1: ['sha256', 'sha512'],
}
const paddings = [constants.RSA_PKCS1_PADDING, constants.RSA_PKCS1_PSS_PADDING]

/** A signature that is not even formed as one is a wrong one. */
function holds(check: () => boolean): boolean {
  try {
    return check()
  } catch {
    return false
  }
}
