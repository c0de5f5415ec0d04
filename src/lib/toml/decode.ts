import { parseDuration } from '#lib/go/duration.ts'

import type { KeyPath } from './key.ts'
import { nearest } from './nearest.ts'

export { nearest } from './nearest.ts'

/** Something a config says that is wrong. */
export interface Problem {
  readonly path: KeyPath
  /** What a bad value must be; undefined for a key that is not known. */
  readonly reason?: string
  /** For an unknown key: the known one that looks most like it, if one does. */
  readonly nearest?: string | undefined
}

export type Table = Readonly<Record<string, unknown>>

/**
 * `defaults` with what `table` sets.
 *
 * The defaults are the schema: a value must be of the kind of its default, and a key that has no
 * default is unknown. Keys are camel case in `defaults` and snake case in the file. A default of
 * `{}` takes any table, and so does a list of tables; where the default is a duration such as `10s`, so is the value, or a number
 * of nanoseconds.
 *
 * What is wrong goes to `problems`, and the default stays.
 */
export function decodeTable<T extends object>(
  defaults: T,
  table: Table,
  path: KeyPath,
  problems: Problem[],
): T {
  const known = Object.entries(defaults)
  const names = new Map(
    known.map(([name, value]) => [toSnake(name), { name, value: asUnknown(value) }]),
  )
  const decoded: Record<string, unknown> = Object.fromEntries(known)
  for (const [key, value] of Object.entries(table)) {
    const field = names.get(key)
    const where = [...path, key]
    if (field) decoded[field.name] = decodeValue(field.value, value, where, problems)
    else problems.push({ path: where, nearest: nearest(key, [...names.keys()]) })
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- every field is of the kind of its default
  return decoded as T
}

function decodeValue(
  fallback: unknown,
  value: unknown,
  where: KeyPath,
  problems: Problem[],
): unknown {
  const reason = whyNot(fallback, value)
  if (reason !== undefined) {
    problems.push({ path: where, reason })
    return fallback
  }
  if (isDuration(fallback) && typeof value === 'number') return `${value}ns`
  // The parser's tables have no prototype.
  if (Array.isArray(value)) return value.map((item) => (isTable(item) ? { ...item } : item))
  if (!isTable(fallback) || !isTable(value) || Object.keys(fallback).length === 0) return value
  return decodeTable(fallback, value, where, problems)
}

/** Why `value` cannot stand where `fallback` does; undefined when it can. */
export function whyNot(fallback: unknown, value: unknown): string | undefined {
  if (isDuration(fallback) && Number.isInteger(value)) return undefined
  const want = kindOf(fallback)
  const got = kindOf(value)
  if (want !== got) return `must be ${want}, not ${got}`
  if (Number.isInteger(fallback) && !Number.isInteger(Number(value))) {
    return `must be a whole number, not ${String(value)}`
  }
  if (isDuration(fallback) && typeof value === 'string') return whyNoDuration(value)
  return Array.isArray(fallback) && Array.isArray(value) ? whyNoList(fallback, value) : undefined
}

/** A list of strings stays one; Go would not take anything else. */
function whyNoList(fallback: readonly unknown[], value: readonly unknown[]): string | undefined {
  const want = kindOf(fallback.length === 0 ? value[0] : fallback[0])
  const other = value.map(kindOf).find((kind) => kind !== want)
  return other === undefined ? undefined : `must hold ${want} each, not ${other}`
}

const isDuration = (value: unknown): boolean =>
  typeof value === 'string' && /^(\d+(ns|us|ms|s|m|h))+$/.test(value)

/** Why `text` is no duration in Go's syntax; undefined when it is one. */
export function whyNoDuration(text: string): string | undefined {
  try {
    parseDuration(text)
    return undefined
  } catch (err) {
    return err instanceof Error ? err.message : String(err)
  }
}

/** The kind of a TOML value, in words. */
export function kindOf(value: unknown): string {
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

/** A decoded section as it is written in a file: the opposite of {@link decodeTable}. */
export const encodeTable = (value: object): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      toSnake(name),
      isTable(field) ? encodeTable(field) : asUnknown(field),
    ]),
  )
