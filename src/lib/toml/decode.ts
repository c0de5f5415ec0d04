import { invalidArgument } from '#lib/errors/errors.ts'

/** Something a config says that has no effect. */
export interface UnknownKey {
  /** Dotted path, as in the file. */
  readonly key: string
  /** The known key that looks most like it, if one does. */
  readonly nearest: string | undefined
}

type Table = Readonly<Record<string, unknown>>

/**
 * `defaults` with what `table` sets.
 *
 * The defaults are the schema: a value must be of the kind of its default, and a key that has no
 * default is unknown. Keys are camel case in `defaults` and snake case in the file. A default of
 * `{}` takes any table.
 *
 * @throws `invalid_argument` when a value is of another kind, naming the key and both kinds.
 */
export function decodeTable<T extends object>(
  defaults: T,
  table: Table,
  path: string,
  unknown: UnknownKey[],
): T {
  const known = Object.entries(defaults)
  const names = new Map(
    known.map(([name, value]) => [toSnake(name), { name, value: asUnknown(value) }]),
  )
  const decoded: Record<string, unknown> = Object.fromEntries(known)
  for (const [key, value] of Object.entries(table)) {
    const field = names.get(key)
    const where = path === '' ? key : `${path}.${key}`
    if (field) decoded[field.name] = decodeValue(field.value, value, where, unknown)
    else unknown.push({ key: where, nearest: nearest(key, [...names.keys()]) })
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- every field is of the kind of its default
  return decoded as T
}

function decodeValue(
  fallback: unknown,
  value: unknown,
  where: string,
  unknown: UnknownKey[],
): unknown {
  const want = kindOf(fallback)
  const got = kindOf(value)
  if (want !== got) throw invalidArgument(`${where} must be ${want}, not ${got}`)
  if (!isTable(fallback) || !isTable(value) || Object.keys(fallback).length === 0) return value
  return decodeTable(fallback, value, where, unknown)
}

/** The kind of a TOML value, in words. */
function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'string') return 'a string'
  if (typeof value === 'number' || typeof value === 'bigint') return 'a number'
  if (typeof value === 'boolean') return 'true or false'
  return isTable(value) ? 'a table' : 'a date'
}

/** Whether `value` is a TOML table. */
export const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)

const asUnknown = (value: unknown): unknown => value

/** `maxRecvSize` → `max_recv_size`. */
export const toSnake = (name: string): string =>
  name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

/** The candidate at the smallest edit distance from `key`, if it is close. */
export function nearest(key: string, candidates: readonly string[]): string | undefined {
  const ranked = candidates
    .map((candidate) => ({ candidate, distance: editDistance(key, candidate) }))
    .toSorted((a, b) => a.distance - b.distance)
  const [best] = ranked
  return best && best.distance <= Math.max(2, key.length / 3) ? best.candidate : undefined
}

/** How many letters to insert, delete or replace to make `b` of `a`. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (const [i, letter] of a.split('').entries()) {
    const next = [i + 1]
    for (const [j, other] of b.split('').entries()) {
      const replaced = (row[j] ?? 0) + (letter === other ? 0 : 1)
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row.at(-1) ?? 0
}
