import { forgetPeak, megabytes, peakOf } from './processes.ts'
import { nothing, type Prepared, type Row, type Subject } from './row.ts'

const peak = 'peak memory, import and unpack of 2 GB, RSS'

/** The most that the daemon holds while a layer of 2 GB comes in and is unpacked. */
export const unpackMemory: Row = {
  name: 'unpack-memory',
  hugeImage: true,
  figures: [{ name: peak, unit: 'MB', better: 'lower' }],
  setup: (subject: Subject): Promise<Prepared> =>
    Promise.resolve({
      measure: async () => ({ [peak]: await measure(subject) }),
      [Symbol.asyncDispose]: nothing,
    }),
}

async function measure({ ctr, daemon, hugeImage }: Subject): Promise<number> {
  if (!hugeImage) throw new Error('no image was made to unpack')
  const { pid } = daemon.process
  if (pid === undefined) throw new Error('the daemon has no process')
  await forgetPeak(pid)
  await ctr('image', 'import', hugeImage.file)
  const bytes = await peakOf(pid)
  await ctr('image', 'rm', '--sync', hugeImage.name)
  return megabytes(bytes)
}
