import { X509Certificate } from 'node:crypto'

import type { Context } from '#core/context.ts'
import type { Evidence, Layer } from '#core/verification/evidence.ts'
import { mostSignatures } from '#core/verification/evidence.ts'
import { type Outcome, type Trusted, untrusted } from '#core/verification/outcome.ts'
import { readPem } from '#core/verification/pem.ts'
import type { NotationTrust } from '#core/verification/rule.ts'
import { describe, failedPrecondition } from '#lib/errors/errors.ts'

import type { Certificate } from './certificate.ts'
import { nameOf } from './chain.ts'
import { jwsType, parseEnvelope } from './envelope.ts'

/*
 *   referrers, artifactType …cncf.notary.signature ─► manifest ─ the one layer ─► envelope
 *                                                        └ subject: the image
 *
 * Source: notaryproject/specifications `specs/signature-specification.md`, "OCI Signatures".
 */

const signatureArtifact = 'application/vnd.cncf.notary.signature'
const mostEnvelopeBytes = 1024 * 1024

/**
 * Looks for a signature of the image by somebody whom the rule trusts. Whether certificates have been
 * revoked is not asked.
 *
 * @throws `failed_precondition` when a certificate of the rule cannot be read; what the registry throws.
 */
export async function verifyNotation(
  ctx: Context,
  evidence: Evidence,
  trust: NotationTrust,
): Promise<Outcome> {
  const anchors = await readCertificates(ctx, trust.certificates)
  const referrers = await evidence.referrers(ctx, [signatureArtifact])
  const faults: string[] = []
  for (const referrer of referrers.slice(0, mostSignatures)) {
    try {
      const { layers, subject } = await evidence.manifest(ctx, referrer)
      if (subject !== evidence.target.digest) throw new Error('its manifest is about another image')
      const [layer, ...others] = layers
      if (layer === undefined || others.length > 0) {
        throw new Error('its manifest does not have one layer')
      }
      return await checkLayer(ctx, evidence, layer, trust, anchors)
    } catch (err) {
      ctx.signal.throwIfAborted()
      faults.push(describe(err))
    }
  }
  return untrusted('notation', faults)
}

/** The certificates in the files of a rule. @throws `failed_precondition` */
async function readCertificates(
  ctx: Context,
  paths: readonly string[],
): Promise<readonly X509Certificate[]> {
  const certificates: X509Certificate[] = []
  for (const path of paths) {
    for (const { label, text } of await readPem(ctx, path)) {
      try {
        certificates.push(new X509Certificate(text))
      } catch (err) {
        const why = `file "${path}" of the policy has a ${label} that is no certificate`
        throw failedPrecondition(why, { cause: err })
      }
    }
  }
  return certificates
}

async function checkLayer(
  ctx: Context,
  evidence: Evidence,
  layer: Layer,
  trust: NotationTrust,
  anchors: readonly X509Certificate[],
): Promise<Trusted> {
  if (layer.mediaType === 'application/cose') {
    throw new Error('its envelope is COSE; only JWS is read, which notation makes by default')
  }
  if (layer.mediaType !== jwsType) {
    throw new Error(`its envelope is of type ${JSON.stringify(layer.mediaType)}`)
  }
  const bytes = await evidence.read(ctx, layer, mostEnvelopeBytes)
  const { chain, digest, mediaType, size, until } = parseEnvelope(bytes, new Date())
  const { target } = evidence
  if (digest !== target.digest || size !== target.size || mediaType !== target.mediaType) {
    const what = `${mediaType} ${digest} of ${String(size)} bytes`
    throw new Error(`it is a signature of another image, ${JSON.stringify(what)}`)
  }
  const [signer] = chain
  if (signer === undefined || !isAnchored(chain, anchors)) {
    throw new Error(`no certificate of the rule stands behind ${quoted(signer)}`)
  }
  if (!isNamed(signer, trust.identities)) {
    throw new Error(`its signer ${quoted(signer)} is not among the rule's identities`)
  }
  return { ok: true, by: `signed by ${quoted(signer)}`, until }
}

const quoted = (certificate: Certificate | undefined): string =>
  JSON.stringify(certificate ? nameOf(certificate) : '')

/** An authority is trusted, not a signer; unless it is its own authority. */
const isAnchored = (chain: readonly Certificate[], anchors: readonly X509Certificate[]): boolean =>
  chain
    .slice(chain.length > 1 ? 1 : 0)
    .some(({ x509 }) => anchors.some((anchor) => anchor.raw.equals(x509.raw)))

const isNamed = ({ subject }: Certificate, identities: NotationTrust['identities']): boolean =>
  identities === 'any' ||
  identities.some((identity) =>
    identity.every(([type, value]) =>
      subject.some(([otherType, other]) => otherType === type && other === value),
    ),
  )
