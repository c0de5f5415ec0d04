import { execFileSync } from 'node:child_process'
import { constants, generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/*
 * Signatures as cosign and notation make them, and what they would never make. Written from the
 * specifications, not from the code that reads them.
 */

export interface KeyPair {
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
}

export const newKeys = {
  p256: (): KeyPair => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  p384: (): KeyPair => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  p521: (): KeyPair => generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  rsa: (modulusLength = 2048): KeyPair => generateKeyPairSync('rsa', { modulusLength }),
  ed25519: (): KeyPair => generateKeyPairSync('ed25519'),
} as const

/** The public half in a file of `dir`. */
export function writePublicKey(dir: string, name: string, { publicKey }: KeyPair): string {
  const path = join(dir, name)
  writeFileSync(path, publicKey.export({ type: 'spki', format: 'pem' }))
  return path
}

export interface SimpleSigning {
  readonly digest: string
  readonly repository?: string
  readonly type?: string
}

/** What cosign signs. */
export const simpleSigning = ({ digest, repository = '', type }: SimpleSigning): Buffer =>
  Buffer.from(
    JSON.stringify({
      critical: {
        identity: { 'docker-reference': repository },
        image: { 'docker-manifest-digest': digest },
        type: type ?? 'cosign container image signature',
      },
      optional: null,
    }),
  )

/** With ECDSA and RSA over SHA-256, with Ed25519 over the bytes themselves. */
export const signBytes = (bytes: Uint8Array, { privateKey }: KeyPair, hash = 'sha256'): Buffer =>
  sign(privateKey.asymmetricKeyType === 'ed25519' ? null : hash, bytes, privateKey)

export const signPss = (bytes: Uint8Array, { privateKey }: KeyPair): Buffer =>
  sign('sha256', bytes, {
    key: privateKey,
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  })

export interface Bundle {
  readonly hex: string
  readonly keys: KeyPair
  readonly predicateType?: string
  readonly name?: string
}

/** A sigstore bundle with a statement about an image. */
export function bundle({ hex, keys, predicateType, name }: Bundle) {
  const statement = {
    _type: 'https://in-toto.io/Statement/v1',
    subject: [{ ...(name && { name }), digest: { sha256: hex } }],
    predicateType: predicateType ?? 'https://sigstore.dev/cosign/sign/v1',
    predicate: {},
  }
  const payload = Buffer.from(JSON.stringify(statement))
  const payloadType = 'application/vnd.in-toto+json'
  const head = `DSSEv1 ${payloadType.length} ${payloadType} ${payload.length} `
  const signature = signBytes(Buffer.concat([Buffer.from(head), payload]), keys)
  return {
    mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
    verificationMaterial: { publicKey: { hint: 'x' }, tlogEntries: [] },
    dsseEnvelope: {
      payload: payload.toString('base64'),
      payloadType,
      signatures: [{ sig: signature.toString('base64') }],
    },
  }
}

export interface CertifyOptions {
  /** `/C=US/O=acme/CN=signer`. */
  readonly subject: string
  readonly keys?: KeyPair
  /** Lines of an extension section of openssl; none for no extensions. */
  readonly extensions: readonly string[]
  /** Itself when absent. */
  readonly issuer?: Certified
  readonly days?: number
  readonly hash?: string
}

export interface Certified {
  readonly keys: KeyPair
  readonly certificate: X509Certificate
  /** Files with the certificate and the key. */
  readonly path: string
  readonly keyPath: string
}

export const authority = [
  'basicConstraints=critical,CA:TRUE',
  'keyUsage=critical,keyCertSign,cRLSign',
]
export const codeSigner = [
  'basicConstraints=CA:FALSE',
  'keyUsage=critical,digitalSignature',
  'extendedKeyUsage=codeSigning',
]

/** A certificate, made by openssl in `dir`. */
export function certify(dir: string, name: string, options: CertifyOptions): Certified {
  const { subject, keys = newKeys.p256(), extensions, issuer, days = 2, hash = 'sha256' } = options
  const at = join(dir, name)
  const [keyPath, csr, ext, path] = [`${at}.key`, `${at}.csr`, `${at}.ext`, `${at}.pem`]
  writeFileSync(keyPath, keys.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  writeFileSync(ext, `${extensions.join('\n')}\n`)
  execFileSync('openssl', ['req', '-new', '-key', keyPath, '-subj', subject, '-out', csr])
  const by = issuer
    ? ['-CA', issuer.path, '-CAkey', issuer.keyPath, '-CAcreateserial']
    : ['-signkey', keyPath]
  const length = ['-days', String(days), `-${hash}`]
  const args = ['x509', '-req', '-in', csr, '-extfile', ext, '-out', path, ...length, ...by]
  execFileSync('openssl', args, { stdio: 'ignore' })
  return { keys, certificate: new X509Certificate(readFileSync(path)), path, keyPath }
}

export interface Envelope {
  readonly target: unknown
  /** Signer first. */
  readonly chain: readonly Certified[]
  readonly alg?: string
  /** Over the protected headers that notation has. */
  readonly header?: Readonly<Record<string, unknown>>
  readonly signWith?: KeyPair
}

const algorithms: Readonly<Record<string, { hash: string; pss: boolean }>> = {
  ES256: { hash: 'sha256', pss: false },
  ES384: { hash: 'sha384', pss: false },
  ES512: { hash: 'sha512', pss: false },
  PS256: { hash: 'sha256', pss: true },
  PS384: { hash: 'sha384', pss: true },
  PS512: { hash: 'sha512', pss: true },
}

/** The envelope of a notation signature. */
export function envelope({ target, chain, alg = 'ES256', header = {}, signWith }: Envelope) {
  const encode = (value: unknown): string =>
    Buffer.from(JSON.stringify(value)).toString('base64url')
  const payload = encode({ targetArtifact: target })
  const head = encode({
    alg,
    cty: 'application/vnd.cncf.notary.payload.v1+json',
    crit: ['io.cncf.notary.signingScheme'],
    'io.cncf.notary.signingScheme': 'notary.x509',
    'io.cncf.notary.signingTime': '2026-01-01T00:00:00Z',
    ...header,
  })
  const key = (signWith ?? chain[0]?.keys)?.privateKey
  const { hash, pss } = algorithms[alg] ?? { hash: 'sha256', pss: false }
  const input = Buffer.from(`${head}.${payload}`)
  const padding = constants.RSA_PKCS1_PSS_PADDING
  const signature = !key
    ? Buffer.alloc(0)
    : pss
      ? sign(hash, input, { key, padding, saltLength: constants.RSA_PSS_SALTLEN_DIGEST })
      : sign(hash, input, { key, dsaEncoding: 'ieee-p1363' })
  return {
    payload,
    protected: head,
    header: {
      x5c: chain.map(({ certificate }) => certificate.raw.toString('base64')),
      'io.cncf.notary.signingAgent': 'test/1',
    },
    signature: signature.toString('base64url'),
  }
}
