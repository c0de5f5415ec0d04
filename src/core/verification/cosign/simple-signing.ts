import { record, text } from '#core/images/oci.ts'
import { parseStrictJson } from '#core/verification/strict-json.ts'

/** The media type of a payload. */
export const simpleSigningType = 'application/vnd.dev.cosign.simplesigning.v1+json'
/** The annotation of its layer that has the signature, in base64. */
export const signatureAnnotation = 'dev.cosignproject.cosign/signature'

/** What is said by whoever signed. */
export interface Claim {
  /** Digest of the image's manifest. */
  readonly digest: string
  /** The repository it is meant for, as the signer spells it; empty when that is not said. */
  readonly repository: string
}

/**
 * Reads a payload whose signature is good:
 *
 *     {"critical": {"identity": {"docker-reference": "registry.example/app"},
 *                   "image": {"docker-manifest-digest": "sha256:…"},
 *                   "type": "cosign container image signature"},
 *      "optional": …}
 *
 * Source: cosign `specs/SIGNATURE_SPEC.md`, sigstore `pkg/signature/payload`.
 * @throws Error when it is something else.
 */
export function parseSimpleSigning(payload: Uint8Array): Claim {
  const critical = record(record(parseStrictJson(payload, 'its payload'))['critical'])
  const type = text(critical['type'])
  if (type !== 'cosign container image signature') {
    throw new Error(`its payload is of type ${JSON.stringify(type)}`)
  }
  const known = new Set(['identity', 'image', 'type'])
  const other = Object.keys(critical).find((key) => !known.has(key))
  if (other !== undefined) {
    throw new Error(`its payload has ${JSON.stringify(other)} among what must be understood`)
  }
  return {
    digest: text(record(critical['image'])['docker-manifest-digest']),
    repository: text(record(critical['identity'])['docker-reference']),
  }
}
