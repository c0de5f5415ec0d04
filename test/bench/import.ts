import { createReadStream } from 'node:fs'

import { run } from '#testing/daemon.ts'

import { nothing, type Prepared, type Row, type Subject } from './row.ts'

const unpacked = 'import and unpack'
const alone = 'import alone'

/** A large image from an archive that is in the page cache, with nothing else left to write. */
export const importing: Row = {
  name: 'import',
  bigImage: true,
  figures: [
    { name: unpacked, unit: 's', better: 'lower' },
    { name: alone, unit: 's', better: 'lower' },
  ],
  setup: (subject: Subject): Promise<Prepared> =>
    Promise.resolve({
      measure: async () => ({
        [unpacked]: await importOnce(subject),
        [alone]: await importOnce(subject, '--no-unpack'),
      }),
      [Symbol.asyncDispose]: nothing,
    }),
}

async function importOnce(
  { ctr, bigImage }: Subject,
  ...options: readonly string[]
): Promise<number> {
  if (!bigImage) throw new Error('no image was made to import')
  for await (const _ of createReadStream(bigImage.file, { highWaterMark: 1 << 20 })) continue
  await run('sync', [])
  const start = performance.now()
  await ctr('image', 'import', ...options, bigImage.file)
  const seconds = (performance.now() - start) / 1000
  await ctr('image', 'rm', '--sync', bigImage.name)
  return seconds
}
