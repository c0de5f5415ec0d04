import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { type SoakReport, textOf } from '#testing/soak.ts'

import { ensurePrograms, testPrograms } from './packages.ts'

/*
 * `npm run soak`: the tests that know how to run long, one after the other, for as long as they are
 * told. What fails is named with the seed that makes it happen again, as far as chance allows:
 * processes are killed at moments that no seed can hold still.
 */

const usage = `npm run soak -- [--seed N] [--cycles N] [--minutes M] [WORD...]

  --seed N      seed of the first cycle of each test; a new one without it
  --cycles N    at most N times what npm test runs of each test; 10000 without it
  --minutes M   how long all of them may take together; 30 without it
  WORD          only the test files whose path has one of these words
`

/** Tests that have a slice among tests that have none. */
const sliced = [
  'src/lib/bolt/{crash,damage,kill,model,salvage}.test.ts',
  'test/compat/bolt-go.test.ts',
  'src/lib/{grpc,ttrpc}/wire.test.ts',
  'src/core/metadata/gc-look.test.ts',
  'test/compat/{gc-go,wire/random}.test.ts',
  'test/integration/host-steps.test.ts',
]

interface Options {
  readonly seed: number
  readonly cycles: number
  readonly minutes: number
  readonly words: readonly string[]
}

function parse(args: readonly string[]): Options {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      cycles: { type: 'string', default: '10000' },
      minutes: { type: 'string', default: '30' },
    },
  })
  const [seed, cycles, minutes] = [values.seed, values.cycles, values.minutes].map(Number)
  if (!seed || !cycles || !minutes || !Number.isInteger(seed)) throw new Error(usage)
  return { seed, cycles, minutes, words: positionals }
}

async function main(options: Options): Promise<number> {
  const { seed, cycles, minutes, words } = options
  ensurePrograms(testPrograms)
  const files = globSync(['test/soak/*.test.ts', ...sliced])
    .toSorted()
    .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
  if (files.length === 0) throw new Error(`no test file has any of: ${words.join(' ')}\n${usage}`)
  process.stdout.write(`seed ${seed}, ${files.length} files, ${minutes} minutes\n`)

  await using dir = await mkdtempDisposable(join(tmpdir(), 'soak-'))
  const report = join(dir.path, 'report')
  const end = Date.now() + minutes * 60_000
  const failed: string[] = []
  for (const [i, file] of files.entries()) {
    const until = Math.round(Date.now() + Math.max(0, end - Date.now()) / (files.length - i))
    process.stdout.write(`${file}\n`)
    const env = { SOAK: cycles, SOAK_SEED: seed, SOAK_UNTIL: until, SOAK_REPORT: report }
    if (!(await run(file, env))) failed.push(file)
  }
  process.stdout.write(summary(report))
  for (const file of failed) process.stdout.write(`failed: ${file}\n`)
  return failed.length === 0 ? 0 : 1
}

/** Runs one test file. Whether it passed. */
async function run(file: string, env: Readonly<Record<string, number | string>>): Promise<boolean> {
  const words = Object.entries(env).map(([name, value]) => [name, String(value)])
  const child = spawn(process.execPath, ['--test-reporter=dot', file], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...Object.fromEntries(words) },
  })
  const [code]: unknown[] = await once(child, 'exit')
  return code === 0
}

function summary(report: string): string {
  if (!existsSync(report)) return 'no test told what it did\n'
  const lines = readFileSync(report, 'utf8').split('\n').filter(Boolean)
  return lines
    .map((line) => {
      const done: SoakReport = JSON.parse(line)
      const { name, cycles, seconds, failedSeed, counts } = done
      const failure = failedSeed === undefined ? '' : ` FAILED with seed ${failedSeed}`
      return `${name}: ${cycles} cycles in ${seconds} s${failure}  ${textOf(counts)}\n`
    })
    .join('')
}

try {
  process.exitCode = await main(parse(process.argv.slice(2)))
} catch (err) {
  process.stderr.write(`${err instanceof Error ? err.message : String(err)}\n`)
  process.exitCode = 1
}
