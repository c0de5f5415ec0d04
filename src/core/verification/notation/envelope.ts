import { constants, type KeyObject, verify } from 'node:crypto'

import { list, record, text } from '#core/images/oci.ts'
import { fromBase64, fromBase64Url } from '#core/verification/base64.ts'
import { parseStrictJson } from '#core/verification/strict-json.ts'
import { parseRfc3339 } from '#lib/go/rfc3339.ts'

import type { Certificate } from './certificate.ts'
import { parseChain } from './chain.ts'

/*
 *   {"payload":   base64url {"targetArtifact": {"mediaType", "digest", "size"}},
 *    "protected": base64url {"alg", "cty", "crit", "io.cncf.notary.signingScheme", …Time, …expiry},
 *    "header":    {"x5c": [base64 of the signer's certificate, …, of the root], …},
 *    "signature": base64url, of `<protected>.<payload>`}
 *
 * Source: notaryproject/specifications `specs/signature-envelope-jws.md`, `specs/signing-scheme.md`.
 */

/** The media type of an envelope. */
export const jwsType = 'application/jose+json'

const prefix = 'io.cncf.notary.'
const payloadType = 'application/vnd.cncf.notary.payload.v1+json'

/** What is in an envelope that is whole: signed by the first of its certificates. */
export interface SignedEnvelope {
  /** Signer first, root last; checked in itself. */
  readonly chain: readonly Certificate[]
  readonly mediaType: string
  readonly digest: string
  readonly size: unknown
  /** When it is over, or the first of the certificates is. */
  readonly until: Date
}

/** @throws Error when it is anything else than the specification allows, or over at `now`. */
export function parseEnvelope(bytes: Uint8Array, now: Date): SignedEnvelope {
  const envelope = record(parseStrictJson(bytes, 'the envelope'))
  const known = new Set(['payload', 'protected', 'header', 'signature'])
  const other = Object.keys(envelope).find((key) => !known.has(key))
  if (other !== undefined) throw new Error(`the envelope has a ${JSON.stringify(other)}`)
  const headerBytes = fromBase64Url(envelope['protected'])
  const payload = fromBase64Url(envelope['payload'])
  const signature = fromBase64Url(envelope['signature'])
  if (!headerBytes || !payload || !signature) {
    throw new Error('the envelope has no payload, no header or no signature')
  }
  const header = record(parseStrictJson(headerBytes, 'the header of the envelope'))
  const expiry = checkHeader(header, now)
  const chain = parseChain(certificatesOf(record(envelope['header'])['x5c']), now)
  const signed = Buffer.from(`${text(envelope['protected'])}.${text(envelope['payload'])}`)
  checkSignature(text(header['alg']), chain, signed, signature)
  const target = record(record(parseStrictJson(payload, 'the payload'))['targetArtifact'])
  const ends = [...chain.map(({ x509 }) => new Date(x509.validTo)), ...(expiry ? [expiry] : [])]
  return {
    chain,
    mediaType: text(target['mediaType']),
    digest: text(target['digest']),
    size: target['size'],
    until: new Date(Math.min(...ends.map(Number))),
  }
}

function certificatesOf(value: unknown): readonly Buffer[] {
  return list(value).map((entry) => {
    const bytes = fromBase64(entry)
    if (bytes === undefined) throw new Error('a certificate of the envelope is not in base64')
    return bytes
  })
}

/** @returns when the signature expires, if it does. @throws Error */
function checkHeader(header: Readonly<Record<string, unknown>>, now: Date): Date | undefined {
  const scheme = text(header[`${prefix}signingScheme`])
  if (scheme !== 'notary.x509') {
    throw new Error(`its signing scheme is ${JSON.stringify(scheme)}; "notary.x509" is understood`)
  }
  if (header['cty'] !== payloadType) throw new Error('its payload is not that of notation')
  timeOf(header, 'signingTime')
  checkCritical(header)
  if (header[`${prefix}expiry`] === undefined) return undefined
  const expiry = timeOf(header, 'expiry')
  if (expiry <= now) throw new Error(`it has expired on ${expiry.toISOString()}`)
  return expiry
}

function timeOf(header: Readonly<Record<string, unknown>>, name: string): Date {
  try {
    return parseRfc3339(text(header[prefix + name]))
  } catch (err) {
    throw new Error(`its ${name} is no time`, { cause: err })
  }
}

/**
 * What is marked critical must be understood, and what is critical must be marked; a plugin that a
 * signature asks for is not there.
 */
function checkCritical(header: Readonly<Record<string, unknown>>): void {
  const critical = list(header['crit'])
  const understood = [`${prefix}signingScheme`, `${prefix}expiry`]
  const other = critical.find((name) => !understood.includes(text(name)))
  if (other !== undefined) throw new Error(`it asks to understand ${JSON.stringify(other)}`)
  for (const name of understood) {
    if (Object.hasOwn(header, name) !== critical.includes(name)) {
      throw new Error(`it has ${name} in one of its headers and the list of critical ones only`)
    }
  }
  for (const name of [
    'verificationPlugin',
    'authenticSigningTime',
    'verificationPluginMinVersion',
  ]) {
    if (Object.hasOwn(header, prefix + name))
      throw new Error(`it asks to understand ${prefix}${name}`)
  }
}

interface Algorithm {
  readonly hash: string
  readonly pss?: boolean
}

/** By the key of the signer: the one algorithm that it may be used with. */
const algorithms: Readonly<Record<string, Algorithm>> = {
  PS256: { hash: 'sha256', pss: true },
  PS384: { hash: 'sha384', pss: true },
  PS512: { hash: 'sha512', pss: true },
  ES256: { hash: 'sha256' },
  ES384: { hash: 'sha384' },
  ES512: { hash: 'sha512' },
}

function algorithmFor(key: KeyObject): string | undefined {
  const { modulusLength, namedCurve } = key.asymmetricKeyDetails ?? {}
  const size = key.asymmetricKeyType === 'rsa' ? `rsa ${modulusLength}` : namedCurve
  const byKey: Readonly<Record<string, string>> = {
    'rsa 2048': 'PS256',
    'rsa 3072': 'PS384',
    'rsa 4096': 'PS512',
    prime256v1: 'ES256',
    secp384r1: 'ES384',
    secp521r1: 'ES512',
  }
  return size !== undefined && Object.hasOwn(byKey, size) ? byKey[size] : undefined
}

function checkSignature(
  name: string,
  [signer]: readonly Certificate[],
  signed: Buffer,
  signature: Buffer,
): void {
  const key = signer?.publicKey
  const fitting = key && algorithmFor(key)
  if (!key || fitting === undefined) throw new Error('the key of its signer is of no allowed kind')
  if (name !== fitting) {
    throw new Error(`its algorithm is ${JSON.stringify(name)}, and its key is for ${fitting}`)
  }
  const { hash, pss = false } = algorithms[fitting] ?? { hash: '' }
  const options = pss
    ? {
        key,
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
      }
    : { key, dsaEncoding: 'ieee-p1363' as const }
  if (!verify(hash, signed, options, signature)) {
    throw new Error('its signature does not fit what it has signed')
  }
}
