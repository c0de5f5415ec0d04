import { validateIdentifier } from '#core/identifiers/identifiers.ts'
import { describe, invalidArgument } from '#lib/errors/errors.ts'
import { isTable, nearest } from '#lib/toml/decode.ts'

import { knownServices } from './methods.ts'

/** What the clients of a listener may do; everything, if it says nothing. */
export interface Role {
  /** As the configuration has it, for messages. */
  readonly rule: string
  /** Only methods that change nothing. */
  readonly readOnly: boolean
  /** Only on behalf of these; undefined for all. */
  readonly namespaces: readonly string[] | undefined
  /** Full names; undefined for all. */
  readonly services: readonly string[] | undefined
}

/** No role: what containerd's own socket has. */
export const everything: Role = {
  rule: 'everything',
  readOnly: false,
  namespaces: undefined,
  services: undefined,
}

/**
 * The role of one entry of `[[listeners]]`: `"read-only"`, or a table with `namespaces`, `services`
 * or both.
 *
 * @throws `invalid_argument` for anything else, naming what is wrong; a role never permits more
 * because of a mistake in it.
 */
export function parseRole(value: unknown, where: string): Role {
  if (value === 'read-only') return { ...everything, rule: 'read-only', readOnly: true }
  if (!isTable(value)) {
    throw invalidArgument(
      `${where} must be "read-only" or a table with namespaces and services, not ${JSON.stringify(value)}`,
    )
  }
  const { namespaces, services, ...others } = value
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) throw invalidArgument(`${where}.${unknown} is not known`)
  const role = {
    readOnly: false,
    namespaces: names(namespaces, `${where}.namespaces`, checkNamespace),
    services: names(services, `${where}.services`, fullName),
  }
  if (!role.namespaces && !role.services) {
    throw invalidArgument(`${where} must name namespaces, services or both`)
  }
  return { ...role, rule: ruleOf(role) }
}

function ruleOf({ namespaces, services }: Pick<Role, 'namespaces' | 'services'>): string {
  const parts = Object.entries({ namespaces, services }).flatMap(([key, list]) =>
    list ? [`${key} = [${list.map((name) => `"${name}"`).join(', ')}]`] : [],
  )
  return parts.join(', ')
}

function names(
  value: unknown,
  where: string,
  check: (name: string, where: string) => string,
): readonly string[] | undefined {
  if (value === undefined) return undefined
  if (!Array.isArray(value) || value.length === 0) {
    throw invalidArgument(`${where} must be a list of names`)
  }
  return value.map((name: unknown) => {
    if (typeof name !== 'string') throw invalidArgument(`${where} must be a list of names`)
    return check(name, where)
  })
}

function checkNamespace(name: string, where: string): string {
  try {
    validateIdentifier(name)
  } catch (err) {
    throw invalidArgument(`${where}: ${describe(err)}`, { cause: err })
  }
  return name
}

/** `images`, `Images` or the full name. */
function fullName(name: string, where: string): string {
  const wanted = name.toLowerCase()
  const short = (service: string): string => service.split('.').at(-1) ?? ''
  const found = knownServices.filter(
    (service) => service === name || short(service).toLowerCase() === wanted,
  )
  const [service] = found
  if (service !== undefined && found.length === 1) return service
  const like = nearest(
    wanted,
    knownServices.map((each) => short(each).toLowerCase()),
  )
  throw invalidArgument(`${where}: unknown service "${name}"${like ? `; is it "${like}"?` : ''}`)
}
