import { formatEntry } from '#core/logs/json-file.ts'
import { rfc3339Now } from '#lib/go/now.ts'
import { RotatingFile } from '#shim/stdio/json-file/rotating-file.ts'

/*
 * A program: writes the numbers from 0 to argv[3] to the log argv[2], a hundred lines in each file,
 * and says when it has begun.
 */
const [path = '', count = '0'] = process.argv.slice(2)
using log = new RotatingFile({ path, maxSize: 7000, maxFile: 1000 })
process.send?.('writing')
for (let n = 0; n < Number(count); n += 1) {
  log.write([formatEntry({ log: `${n}\n`, stream: 'stdout', time: rfc3339Now() })])
  // Now and then others may run, also on a machine with one core.
  if (n % 10 === 0) await new Promise(setImmediate)
}
process.disconnect?.()
