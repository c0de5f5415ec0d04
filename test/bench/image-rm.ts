import { run } from '#testing/daemon.ts'

import { nothing, type Prepared, type Row, type Subject } from './row.ts'

const name = 'ctr image rm --sync'

/** A large image that is unpacked, until nothing of it is left: its blobs and its snapshots are gone. */
export const removing: Row = {
  name: 'image-rm',
  bigImage: true,
  figures: [{ name, unit: 's', better: 'lower' }],
  setup: ({ ctr, bigImage }: Subject): Promise<Prepared> =>
    Promise.resolve({
      measure: async () => {
        if (!bigImage) throw new Error('no image was made to remove')
        await ctr('image', 'import', bigImage.file)
        await run('sync', [])
        const start = performance.now()
        await ctr('image', 'rm', '--sync', bigImage.name)
        return { [name]: (performance.now() - start) / 1000 }
      },
      [Symbol.asyncDispose]: nothing,
    }),
}
