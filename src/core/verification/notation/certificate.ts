import { type KeyObject, X509Certificate } from 'node:crypto'

import type { NamePart } from '#core/verification/rule.ts'

import { derInside, derOid, derTags, type DerValue, derValues } from './der.ts'

/*
 *   Certificate ─ tbsCertificate ─ [0] version, serial, algorithm, issuer, validity, subject, key, …
 *               │                  └ [3] extensions: id, critical?, value
 *               └ signatureAlgorithm, signature
 *
 * Source: RFC 5280, chapter 4.1. Node tells everything else.
 */

/** A certificate, and what Node does not tell of it. */
export interface Certificate {
  readonly x509: X509Certificate
  readonly publicKey: KeyObject
  /** Object identifier of the algorithm it is signed with. */
  readonly signatureAlgorithm: string
  readonly subject: readonly NamePart[]
  readonly basicConstraints: BasicConstraints | undefined
  readonly keyUsage: KeyUsage | undefined
  /** Object identifiers; undefined when it may be used for anything. */
  readonly extendedKeyUsage: readonly string[] | undefined
}

export interface BasicConstraints {
  readonly critical: boolean
  readonly ca: boolean
  /** How many authorities may stand between it and the signer; undefined for any number. */
  readonly pathLength: number | undefined
}

export interface KeyUsage {
  readonly critical: boolean
  readonly uses: ReadonlySet<string>
}

/** By the bit of KeyUsage, from the highest of the first byte on. */
const uses = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
]

const attributes: Readonly<Record<string, string>> = {
  '2.5.4.3': 'CN',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'ST',
  '2.5.4.9': 'STREET',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
  '2.5.4.17': 'POSTALCODE',
  '2.5.4.5': 'SERIALNUMBER',
}

/** @throws Error when it is not a certificate, or not one alone. */
export function parseCertificate(source: Buffer): Certificate {
  const x509 = new X509Certificate(source)
  if (source.length !== x509.raw.length) {
    throw new Error('a certificate is followed by something else')
  }
  const [body, algorithm] = derInside(x509.raw, derTags.sequence)
  const [oid] = derValues(algorithm?.contents ?? Buffer.alloc(0))
  const fields = derValues(body?.contents ?? Buffer.alloc(0))
  // The version stands first where it is not 1.
  const subject = fields[fields[0]?.tag === 0xa0 ? 5 : 4]
  const wrapped = fields.find(({ tag }) => tag === 0xa3)
  const extensions = wrapped ? derInside(wrapped.contents, derTags.sequence).map(toExtension) : []
  const ids = new Set(extensions.map(({ id }) => id))
  if (ids.size < extensions.length) throw new Error('a certificate has one extension twice')
  const find = (id: string): Extension | undefined => extensions.find((other) => other.id === id)
  return {
    x509,
    publicKey: x509.publicKey,
    signatureAlgorithm: derOid(oid?.contents ?? Buffer.alloc(0)),
    subject: nameParts(subject),
    basicConstraints: toBasicConstraints(find('2.5.29.19')),
    keyUsage: toKeyUsage(find('2.5.29.15')),
    extendedKeyUsage: toExtendedKeyUsage(find('2.5.29.37')),
  }
}

interface Extension {
  readonly id: string
  readonly critical: boolean
  readonly value: Buffer
}

function toExtension({ contents }: DerValue): Extension {
  const [id, ...rest] = derValues(contents)
  const critical = rest.find(({ tag }) => tag === derTags.boolean)
  const value = rest.find(({ tag }) => tag === derTags.octetString)
  return {
    id: derOid(id?.contents ?? Buffer.alloc(0)),
    critical: critical?.contents[0] === 0xff,
    value: value?.contents ?? Buffer.alloc(0),
  }
}

function toBasicConstraints(extension: Extension | undefined): BasicConstraints | undefined {
  if (extension === undefined) return undefined
  const values = derInside(extension.value, derTags.sequence)
  const ca = values.find(({ tag }) => tag === derTags.boolean)
  const length = values.find(({ tag }) => tag === derTags.integer)
  return {
    critical: extension.critical,
    ca: ca?.contents[0] === 0xff,
    pathLength: length && Number(`0x${length.contents.toString('hex') || '0'}`),
  }
}

function toKeyUsage(extension: Extension | undefined): KeyUsage | undefined {
  if (extension === undefined) return undefined
  const [bits] = derValues(extension.value)
  const bytes = bits?.tag === derTags.bitString ? bits.contents.subarray(1) : Buffer.alloc(0)
  const isSet = (i: number): boolean => ((bytes[i >> 3] ?? 0) & (0x80 >> (i & 7))) !== 0
  return { critical: extension.critical, uses: new Set(uses.filter((_, i) => isSet(i))) }
}

const toExtendedKeyUsage = (extension: Extension | undefined): readonly string[] | undefined =>
  extension && derInside(extension.value, derTags.sequence).map(({ contents }) => derOid(contents))

/** Source: RFC 5280, chapter 4.1.2.4. Parts of other types are named by their identifier. */
function nameParts(name: DerValue | undefined): readonly NamePart[] {
  const sets = derValues(name?.contents ?? Buffer.alloc(0))
  return sets.flatMap(({ contents: set }) =>
    derValues(set).map(({ contents }): NamePart => {
      const [type, value] = derValues(contents)
      const id = derOid(type?.contents ?? Buffer.alloc(0))
      return [attributes[id] ?? id, textOf(value)]
    }),
  )
}

/** UTF8String, PrintableString and IA5String; a BMPString has two bytes a character. */
function textOf(value: DerValue | undefined): string {
  if (value === undefined) return ''
  if (value.tag !== 0x1e) return value.contents.toString('utf8')
  return Buffer.from(value.contents).swap16().toString('utf16le')
}
