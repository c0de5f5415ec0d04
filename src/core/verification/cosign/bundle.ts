import { list, record, text } from '#core/images/oci.ts'
import { fromBase64 } from '#core/verification/base64.ts'
import { parseStrictJson } from '#core/verification/strict-json.ts'

import type { TrustedKey } from './keys.ts'
import type { Claim } from './simple-signing.ts'

/** The artifact and media type of sigstore's bundles. */
export const bundleType = 'application/vnd.dev.sigstore.bundle.v0.3+json'
const otherBundleType = 'application/vnd.dev.sigstore.bundle+json;version=0.3'
const statementType = 'application/vnd.in-toto+json'
const signPredicate = 'https://sigstore.dev/cosign/sign/v1'

/**
 * Reads a sigstore bundle that one of `keys` has signed:
 *
 *     {"mediaType": …, "verificationMaterial": {"publicKey": {"hint": …}},
 *      "dsseEnvelope": {"payloadType": "application/vnd.in-toto+json",
 *                       "payload": base64 of {"_type": "https://in-toto.io/Statement/v1",
 *                                             "subject": [{"digest": {"sha256": …}}],
 *                                             "predicateType": "https://sigstore.dev/cosign/sign/v1"},
 *                       "signatures": [{"sig": …}]}}
 *
 * What is signed is `DSSEv1 <length> <payloadType> <length> <payload>`. Entries of transparency logs
 * are not looked at: who trusts a key needs none.
 *
 * Source: sigstore `protobuf-specs` (`sigstore_bundle.proto`), DSSE `protocol.md`, in-toto attestation
 * `spec/v1/statement.md`; cosign `cmd/cosign/cli/sign` (`signDigestBundle`).
 * @throws Error when it is something else, or somebody else's.
 */
export function parseBundle(
  bytes: Uint8Array,
  keys: readonly TrustedKey[],
): Claim & { readonly key: TrustedKey } {
  const bundle = record(parseStrictJson(bytes, 'the bundle'))
  const mediaType = text(bundle['mediaType'])
  if (mediaType !== bundleType && mediaType !== otherBundleType) {
    throw new Error(`it is a bundle of type ${JSON.stringify(mediaType)}`)
  }
  const envelope = record(bundle['dsseEnvelope'])
  const payloadType = text(envelope['payloadType'])
  if (payloadType !== statementType) throw new Error('the bundle has no in-toto statement')
  const payload = fromBase64(envelope['payload'])
  const [signature, ...others] = list(envelope['signatures'])
  const bytesOfSignature = fromBase64(record(signature)['sig'])
  if (payload === undefined || bytesOfSignature === undefined || others.length > 0) {
    throw new Error('the bundle does not have one payload and one signature')
  }
  const signed = preAuthEncoding(payloadType, payload)
  const key = keys.find((candidate) => candidate.verifies(signed, bytesOfSignature))
  if (key === undefined) throw new Error(`the bundle is signed by none of the rule's keys`)
  return { ...claimOf(payload), key }
}

const preAuthEncoding = (type: string, payload: Buffer): Buffer =>
  Buffer.concat([
    Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `),
    payload,
  ])

function claimOf(payload: Buffer): Claim {
  const statement = record(parseStrictJson(payload, 'the statement in the bundle'))
  if (statement['_type'] !== 'https://in-toto.io/Statement/v1') {
    throw new Error('the bundle has no in-toto statement of version 1')
  }
  const predicate = text(statement['predicateType'])
  if (predicate !== signPredicate) {
    throw new Error(
      `the bundle is an attestation of type ${JSON.stringify(predicate)}, no signature`,
    )
  }
  const [subject, ...others] = list(statement['subject']).map(record)
  const hex = text(record(subject?.['digest'])['sha256'])
  if (others.length > 0 || hex === '') {
    throw new Error('the statement in the bundle is not about one sha256 digest')
  }
  return { digest: `sha256:${hex}`, repository: text(subject?.['name']) }
}
