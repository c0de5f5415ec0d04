import { isDeepStrictEqual } from 'node:util'

import { isTable, type Problem, type Table, whyNot } from '#lib/toml/decode.ts'
import type { KeyPath } from '#lib/toml/key.ts'
import { nearest } from '#lib/toml/nearest.ts'

import type { Shape } from './known.ts'

/** What a check against a shape finds. */
export interface Findings {
  readonly problems: Problem[]
  /** Keys that are known, and set to something else than their default. */
  readonly inert: KeyPath[]
}

/** Checks a section that nothing reads: every key is known, and every value is of its kind. */
export function checkShape(shape: Shape, table: Table, path: KeyPath, findings: Findings): void {
  const anyEntry = shape['*']
  const isFree = Object.keys(shape).length === 0
  for (const [key, value] of Object.entries(table)) {
    const where = [...path, key]
    const expected = shape[key] ?? anyEntry
    if (isFree) findings.inert.push(where)
    else if (expected === undefined) {
      findings.problems.push({ path: where, nearest: nearest(key, Object.keys(shape)) })
    } else checkValue(expected, value, where, findings)
  }
}

function checkValue(
  expected: NonNullable<Shape[string]>,
  value: unknown,
  where: KeyPath,
  findings: Findings,
): void {
  const reason = whyNot(expected, value)
  if (reason !== undefined) findings.problems.push({ path: where, reason })
  else if (isShape(expected) && isTable(value)) checkShape(expected, value, where, findings)
  else if (!isDeepStrictEqual(expected, value)) findings.inert.push(where)
}

const isShape = (value: unknown): value is Shape => isTable(value)
