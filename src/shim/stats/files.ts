import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

import type { DescMessage } from '@bufbuild/protobuf'

/** Numbers by name, as most files of a control group have them. */
export type Numbers = ReadonlyMap<string, bigint>

/** What the kernel writes for "no limit" where a number is meant. */
export const unlimited = 2n ** 64n - 1n

/** The text of a file of a group; empty when the group does not have it, or is gone. */
export function readText(dir: string | undefined, file: string): string {
  if (dir === undefined) return ''
  try {
    return readFileSync(join(dir, file), 'utf8').trim()
  } catch {
    return ''
  }
}

/** The single number of a file; 0 when there is none, `max` as given. */
export function readNumber(dir: string | undefined, file: string, max = 0n): bigint {
  return toNumber(readText(dir, file), max)
}

/** Lines of a name and a number. */
export function readNumbers(dir: string | undefined, file: string): Numbers {
  const lines = readText(dir, file).split('\n')
  return new Map(
    lines.map((line) => {
      const [name = '', value = ''] = line.split(' ')
      return [name, toNumber(value, 0n)] as const
    }),
  )
}

/** Words of `name=value`. */
export function readPairs(words: readonly string[]): ReadonlyMap<string, string> {
  return new Map(
    words.map((word) => {
      const [name = '', value = ''] = word.split('=')
      return [name, value] as const
    }),
  )
}

/** A number of 64 bits from text that may be something else. */
export function toNumber(text: string, max = 0n): bigint {
  if (text === 'max') return max
  return /^\d+$/.test(text) ? BigInt(text) : 0n
}

/** The numeric fields of a message from numbers of the same names, or those that `names` says. */
export function pick(
  schema: DescMessage,
  numbers: Numbers,
  names: Readonly<Record<string, string>> = {},
): Record<string, bigint> {
  const picked: Record<string, bigint> = {}
  for (const field of schema.fields) {
    if (field.fieldKind !== 'scalar') continue
    const value = numbers.get(names[field.name] ?? field.name)
    if (value !== undefined) picked[field.localName] = value
  }
  return picked
}

/** The sizes of huge pages that a group accounts for: `2MB`, `1GB`. */
export function hugePageSizes(dir: string | undefined): readonly string[] {
  if (dir === undefined) return []
  try {
    const sizes = readdirSync(dir).map((file) => /^hugetlb\.(\d+[KMG]B)\./.exec(file)?.[1])
    return [...new Set(sizes.filter((size) => size !== undefined))]
  } catch {
    return []
  }
}

/** Lines of `device hca_handle=2 hca_object=2000`, `max` for no limit. */
export function readRdma(
  dir: string | undefined,
  file: string,
): { device: string; hcaHandles: number; hcaObjects: number }[] {
  const lines = readText(dir, file).split('\n')
  return lines.filter(Boolean).map((line) => {
    const [device = '', ...pairs] = line.split(' ')
    const values = readPairs(pairs)
    const count = (name: string): number =>
      Number(toNumber(values.get(name) ?? '', BigInt(0xffffffff)))
    return { device, hcaHandles: count('hca_handle'), hcaObjects: count('hca_object') }
  })
}
