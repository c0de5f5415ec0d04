import { parseArgs } from 'node:util'

import type { Row } from './row.ts'
import { rows } from './rows.ts'

/** What the command line asks for. */
export interface Options {
  readonly rounds: number
  readonly rows: readonly Row[]
  readonly quick: boolean
  /** Measures the sources of this checkout instead of a release made of them. */
  readonly source: boolean
  readonly json: boolean
  readonly help: boolean
}

const names = rows.map((row) => row.name)

export const usage: string = `npm run bench -- [options]: wharfd beside every containerd of this machine

  --rounds N         how often each is measured, in turns; 5 by default
  --only ROW[,ROW]   some rows: ${names.join(', ')}
  --source           wharfd as it is in this checkout, not a release made of it
  --quick            small loads, to see that all of it runs
  --json             the same, with every sample, for programs
`

/** Reads arguments. @throws an Error that says which one is wrong. */
export function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '5' },
      only: { type: 'string', default: names.join(',') },
      quick: { type: 'boolean', default: false },
      source: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  const { only, quick, source, json, help } = values
  const rounds = Number(values.rounds)
  if (!Number.isInteger(rounds) || rounds < 1) {
    throw new Error(`--rounds ${values.rounds}: must be 1 or more`)
  }
  const chosen = only.split(',')
  const unknown = chosen.filter((name) => !names.includes(name))
  if (unknown.length > 0) {
    throw new Error(`--only ${unknown.join(',')}: there is ${names.join(', ')}`)
  }
  return {
    rounds,
    rows: rows.filter((row) => chosen.includes(row.name)),
    quick,
    source,
    json,
    help,
  }
}
