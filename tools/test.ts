import { spawnSync } from 'node:child_process'

import { ensurePrograms, testPrograms } from './packages.ts'
import { ensurePeer } from './peer.ts'

/*
 * Everything: what tests need is installed, then the whole suite runs. Arguments are passed on to
 * `node --test`; without any, all test files run.
 */

const everything = ['src/**/*.test.ts', 'test/**/*.test.ts']

try {
  ensurePrograms(testPrograms)
} catch (err) {
  process.stderr.write(`wharf: ${err instanceof Error ? err.message : String(err)}\n`)
  process.exit(1)
}
const missing = ensurePeer()
if (missing !== undefined) {
  process.stderr.write(`tests against containerd 2.x will be skipped: ${missing}\n`)
}

const args = process.argv.slice(2)
const run = spawnSync(
  process.execPath,
  ['--test', '--test-timeout=240000', ...(args.length > 0 ? args : everything)],
  { stdio: 'inherit' },
)
process.exitCode = run.status ?? 1
