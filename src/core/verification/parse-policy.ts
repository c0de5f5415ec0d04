import { isAbsolute } from 'node:path'

import { invalidArgument } from '#lib/errors/errors.ts'
import { isTable, kindOf, type Table, whyNot } from '#lib/toml/decode.ts'
import { nearest } from '#lib/toml/nearest.ts'

import { parsePattern } from './pattern.ts'
import { repositoriesOf } from './repository-name.ts'
import type { NamePart, NotationTrust, Policy, Rule, Trust } from './rule.ts'

/** A policy as a configuration says it; `rules` are tables of a file. */
export interface PolicySource {
  readonly default: string
  readonly rules: readonly unknown[]
}

/** The keys of a rule, by the type of trust that has them; the values show their kind. */
const shared = { name: '', images: [''], type: '' }
const ownKeys: Readonly<Record<Trust['type'], Table>> = {
  cosign: { keys: [''], identity: '' },
  notation: { certificates: [''], identities: [''] },
  allow: {},
  deny: {},
}

/** @throws `invalid_argument`, saying which rule is wrong and what would be right. */
export function parsePolicy(source: PolicySource): Policy {
  const byDefault = source.default
  if (byDefault !== 'allow' && byDefault !== 'deny') {
    throw invalidArgument(`default = ${JSON.stringify(byDefault)} is neither "allow" nor "deny"`)
  }
  return { byDefault, rules: source.rules.map(parseRule) }
}

function parseRule(value: unknown, index: number): Rule {
  const table = isTable(value) ? value : {}
  const given = table['name']
  const name = typeof given === 'string' && given !== '' ? given : String(index + 1)
  try {
    const type = typeOf(table)
    checkKeys(table, { ...shared, ...ownKeys[type] })
    const images = textsOf(table, 'images').map(parsePattern)
    if (images.length === 0) throw invalidArgument('it has no images, such as ["docker.io/**"]')
    return { name, images, trust: trustOf(type, table) }
  } catch (err) {
    const why = err instanceof Error ? err.message : String(err)
    throw invalidArgument(`image policy: rule ${JSON.stringify(name)}: ${why}`, { cause: err })
  }
}

function typeOf({ type }: Table): Trust['type'] {
  if (type === 'cosign' || type === 'notation' || type === 'allow' || type === 'deny') return type
  throw invalidArgument(
    `type = ${JSON.stringify(type) ?? 'nothing'} is none of "cosign", "notation", "allow" and "deny"`,
  )
}

function checkKeys(table: Table, known: Table): void {
  for (const [key, value] of Object.entries(table)) {
    if (!Object.hasOwn(known, key)) {
      const like = nearest(key, Object.keys(known))
      const hint = like === undefined ? '' : `; is it "${like}"?`
      throw invalidArgument(`key "${key}" is not known for its type${hint}`)
    }
    const why = whyNot(known[key], value)
    if (why !== undefined) throw invalidArgument(`"${key}" ${why}`)
  }
}

function trustOf(type: Trust['type'], table: Table): Trust {
  if (type === 'cosign') {
    return { type, keys: filesOf(table, 'keys'), identity: identityOf(table['identity']) }
  }
  if (type === 'notation') {
    return {
      type,
      certificates: filesOf(table, 'certificates'),
      identities: identitiesOf(textsOf(table, 'identities')),
    }
  }
  return { type }
}

function textsOf(table: Table, key: string): readonly string[] {
  const value = table[key] ?? []
  if (!Array.isArray(value)) throw invalidArgument(`"${key}" must be a list, not ${kindOf(value)}`)
  return value.filter((item) => typeof item === 'string')
}

function filesOf(table: Table, key: string): readonly string[] {
  const paths = textsOf(table, key)
  if (paths.length === 0) throw invalidArgument(`it has no ${key}, so nothing could be good enough`)
  const relative = paths.find((path) => !isAbsolute(path))
  if (relative === undefined) return paths
  throw invalidArgument(`"${relative}" in ${key} is not an absolute path`)
}

function identityOf(value: unknown): string {
  if (value === undefined) return 'repository'
  const identity = typeof value === 'string' ? value : ''
  if (identity === 'repository' || identity === 'any') return identity
  if (/[/.]/.test(identity) && repositoriesOf(identity) !== undefined) return identity
  throw invalidArgument(
    `identity = ${JSON.stringify(value)} is neither "repository", "any", nor a repository such as "docker.io/library/alpine"`,
  )
}

/** `C=US, ST=WA, O=acme`, with `\` before a comma that belongs to a value. */
function identitiesOf(texts: readonly string[]): NotationTrust['identities'] {
  if (texts.length === 0) {
    throw invalidArgument(
      'it has no identities, such as ["C=US, O=acme"], or ["*"] for whoever has a certificate',
    )
  }
  if (texts.includes('*')) return 'any'
  return texts.map((text) => {
    const parts = text.replace(/^x509\.subject:/, '').match(/(?:\\.|[^,\\])+/g) ?? []
    return parts.map((part) => namePart(part, text))
  })
}

function namePart(part: string, whole: string): NamePart {
  const [, type = '', value = ''] = /^\s*([A-Za-z0-9.]+)\s*=\s*(.*?)\s*$/.exec(part) ?? []
  if (type === '' || value === '') {
    throw invalidArgument(`identity ${JSON.stringify(whole)} is not like "C=US, ST=WA, O=acme"`)
  }
  const upper = type.toUpperCase()
  return [upper === 'S' ? 'ST' : upper, value.replaceAll(/\\(.)/g, '$1')]
}
