import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

import { benchPrograms, ensurePrograms } from './packages.ts'
import { ensurePeer } from './peer.ts'

/*
 * `npm run bench`: what is measured, and what measures, is installed; then test/bench/main.ts runs.
 * Arguments are passed on; `-- --help` lists them.
 */

const main = fileURLToPath(new URL('../test/bench/main.ts', import.meta.url))

try {
  ensurePrograms(benchPrograms)
} catch (err) {
  process.stderr.write(`wharf: ${err instanceof Error ? err.message : String(err)}\n`)
  process.exit(1)
}
const missing = ensurePeer()
if (missing !== undefined) {
  process.stderr.write(`there will be no containerd 2.x to compare with: ${missing}\n`)
}

const bench = spawn(process.execPath, [main, ...process.argv.slice(2)], { stdio: 'inherit' })
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => bench.kill(signal))
}
bench.on('exit', (code) => {
  process.exitCode = code ?? 1
})
