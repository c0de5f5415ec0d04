import { atOnce } from './at-once.ts'
import { density } from './density.ts'
import { exec } from './exec.ts'
import { gcLatency } from './gc-latency.ts'
import { exporting } from './export.ts'
import { removing } from './image-rm.ts'
import { importing } from './import.ts'
import { memory } from './memory.ts'
import { pulling } from './pull.ts'
import { pushing } from './push.ts'
import { restart } from './restart.ts'
import type { Row } from './row.ts'
import { rpcRate } from './rpc-rate.ts'
import { run } from './run.ts'
import { start } from './start.ts'
import { startFull } from './start-full.ts'
import { unpackMemory } from './unpack-memory.ts'
import { writes } from './writes.ts'

/** All that is measured, in the order of the table. */
export const rows: readonly Row[] = [
  run,
  atOnce,
  exec,
  density,
  writes,
  rpcRate,
  importing,
  exporting,
  removing,
  pulling,
  pushing,
  start,
  startFull,
  restart,
  gcLatency,
  memory,
  unpackMemory,
]
