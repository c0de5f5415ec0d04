import { type Certificate, parseCertificate } from './certificate.ts'

/*
 *   [0] signer ◄─signs─ [1] authority ◄─signs─ … ◄─signs─ [n] root, which signs itself
 *
 * Source: notaryproject/specifications `specs/signature-specification.md`, "Certificate Requirements".
 * Extensions other than those that are named there are not evaluated, as it says.
 */

/** Longer chains are not looked at. */
const mostCertificates = 10

/** SHA-2 with RSA, also PSS, with ECDSA, and Ed25519. */
const signatureAlgorithms = new Set([
  '1.2.840.113549.1.1.10',
  '1.2.840.113549.1.1.11',
  '1.2.840.113549.1.1.12',
  '1.2.840.113549.1.1.13',
  '1.2.840.10045.4.3.2',
  '1.2.840.10045.4.3.3',
  '1.2.840.10045.4.3.4',
  '1.3.101.112',
])

const forbiddenUses = [
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'encipherOnly',
  'decipherOnly',
  'cRLSign',
]

/** Purposes that a signer's certificate must not have: any, servers, clients, e-mail, time stamps. */
const forbiddenPurposes = new Set([
  '2.5.29.37.0',
  '1.3.6.1.5.5.7.3.1',
  '1.3.6.1.5.5.7.3.2',
  '1.3.6.1.5.5.7.3.4',
  '1.3.6.1.5.5.7.3.8',
])

/**
 * Reads a chain and checks it in itself: order, signatures, validity at `now`, what each certificate may
 * be used for. Whether anybody in it is trusted is another question.
 *
 * @throws Error, saying what is wrong with which.
 */
export function parseChain(der: readonly Buffer[], now: Date): readonly Certificate[] {
  if (der.length === 0) throw new Error('it has no certificates')
  if (der.length > mostCertificates) throw new Error(`it has ${der.length} certificates`)
  const chain = der.map((bytes) => parseCertificate(bytes))
  for (const [i, certificate] of chain.entries()) {
    const { x509 } = certificate
    const bad = (why: string): Error => new Error(`certificate "${nameOf(certificate)}" ${why}`)
    const from = new Date(x509.validFrom)
    const to = new Date(x509.validTo)
    if (!(from <= now)) throw bad(`is valid from ${from.toISOString()} on`)
    if (!(to >= now)) throw bad(`has expired on ${to.toISOString()}`)
    if (!signatureAlgorithms.has(certificate.signatureAlgorithm)) {
      throw bad(`is signed with ${certificate.signatureAlgorithm}, which is too weak or not known`)
    }
    const isRoot = i === chain.length - 1
    const issuer = chain[i + 1] ?? certificate
    if (!isIssuedBy(certificate, issuer)) {
      throw bad(isRoot ? 'ends the chain and is no root' : 'is not signed by the next one')
    }
    if (!isRoot && isIssuedBy(certificate, certificate)) throw bad('is a root, and not the last')
    const why = i === 0 ? whyNoSigner(certificate) : whyNoAuthority(certificate, i - 1)
    if (why !== undefined) throw bad(why)
  }
  return chain
}

function isIssuedBy({ x509 }: Certificate, issuer: Certificate): boolean {
  try {
    return x509.issuer === issuer.x509.subject && x509.verify(issuer.publicKey)
  } catch {
    return false
  }
}

/** The name of a certificate, for people. */
export const nameOf = ({ subject }: Certificate): string =>
  subject.map(([type, value]) => `${type}=${value}`).join(', ')

function whyNoSigner(certificate: Certificate): string | undefined {
  const { basicConstraints, keyUsage, extendedKeyUsage = [] } = certificate
  if (basicConstraints?.ca) return 'is one of an authority, not of a signer'
  if (!keyUsage?.critical) return 'has no key usage that is marked critical'
  if (!keyUsage.uses.has('digitalSignature')) return 'may not be used for signatures'
  const use = forbiddenUses.find((other) => keyUsage.uses.has(other))
  if (use !== undefined) return `may also be used for ${use}, so it may not for images`
  const purpose = extendedKeyUsage.find((other) => forbiddenPurposes.has(other))
  if (purpose !== undefined) return `is for purpose ${purpose}, so it may not sign images`
  return undefined
}

function whyNoAuthority(
  { basicConstraints, keyUsage, publicKey }: Certificate,
  authoritiesBelow: number,
): string | undefined {
  if (!basicConstraints?.ca || !basicConstraints.critical) return 'is not one of an authority'
  const { pathLength } = basicConstraints
  if (pathLength !== undefined && pathLength < authoritiesBelow) {
    return `may have ${pathLength} authorities below it, and has ${authoritiesBelow}`
  }
  if (!keyUsage?.critical) return 'has no key usage that is marked critical'
  if (!keyUsage.uses.has('keyCertSign')) return 'may not sign certificates'
  const { modulusLength = 2048 } = publicKey.asymmetricKeyDetails ?? {}
  return modulusLength < 2048 ? `has a key of ${modulusLength} bits` : undefined
}
