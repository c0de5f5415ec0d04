import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { text } from 'node:stream/consumers'

import { parse } from 'smol-toml'

import type { PolicySource } from '#core/verification/parse-policy.ts'
import { invalidArgument, notFound } from '#lib/errors/errors.ts'
import { isTable, type Table } from '#lib/toml/decode.ts'

/** By whose signature an image is to be verified, as the command line has it. */
export interface TrustFlags {
  readonly key?: readonly string[]
  readonly certificate?: readonly string[]
  readonly identity?: readonly string[]
  readonly repository?: string
  readonly config: string
}

const section = 'io.containerd.image-verifier.v1.policy'

/**
 * The policy to verify by: one rule about everything for keys or certificates that are given, else that
 * of a configuration.
 *
 * @throws `not_found` for a configuration without one; `invalid_argument` for one that cannot be read.
 */
export async function policySource(flags: TrustFlags): Promise<PolicySource> {
  const { key = [], certificate = [], identity = ['*'], repository } = flags
  const images = ['**']
  const rules: object[] = []
  if (key.length > 0) {
    const meant = repository === undefined ? {} : { identity: repository }
    const keys = key.map((path) => resolve(path))
    rules.push({ name: 'of the command line', images, type: 'cosign', keys, ...meant })
  }
  if (certificate.length > 0) {
    const certificates = certificate.map((path) => resolve(path))
    const name = 'of the command line'
    rules.push({ name, images, type: 'notation', certificates, identities: identity })
  }
  if (rules.length > 1) throw invalidArgument('--key and --certificate are two rules; give one')
  return rules.length > 0 ? { default: 'deny', rules } : await configured(flags.config)
}

async function configured(path: string): Promise<PolicySource> {
  const root = parseToml(
    path === '-' ? await text(process.stdin) : await readFile(path, 'utf8'),
    path,
  )
  const policy = tableAt(tableAt(root, 'plugins'), section)
  const given = policy['rules'] ?? []
  if (!Array.isArray(given)) throw invalidArgument(`rules in ${path} is not a list`)
  const rules: readonly unknown[] = given
  const byDefault = policy['default'] ?? 'allow'
  if (rules.length > 0 || byDefault !== 'allow') {
    return { default: typeof byDefault === 'string' ? byDefault : '', rules }
  }
  const imports = root['imports']
  if (Array.isArray(imports) && imports.length > 0) {
    throw notFound(
      `policy in ${path}, which imports other files: try "wharfd config dump | wharf image verify --config - …"`,
    )
  }
  throw notFound(`policy in ${path}: give --key or --certificate, or another --config`)
}

function parseToml(source: string, path: string): Table {
  try {
    return parse(source)
  } catch (err) {
    throw invalidArgument(`cannot parse ${path}`, { cause: err })
  }
}

function tableAt(table: Table, key: string): Table {
  const value = table[key]
  return isTable(value) ? value : {}
}
