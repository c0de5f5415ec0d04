import { rm } from 'node:fs/promises'
import { join } from 'node:path'

import { run } from '#testing/daemon.ts'

import { nothing, type Prepared, type Row, type Subject } from './row.ts'

const name = 'ctr image export'

/** A large image into an archive: `ctr` reads its blobs from the daemon and writes a file. */
export const exporting: Row = {
  name: 'export',
  bigImage: true,
  figures: [{ name, unit: 's', better: 'lower' }],
  setup: async (subject: Subject): Promise<Prepared> => {
    const { ctr, bigImage, daemon } = subject
    if (!bigImage) throw new Error('no image was made to export')
    await ctr('image', 'import', '--no-unpack', bigImage.file)
    const archive = join(daemon.dir, 'export.tar')
    const exportOnce = async (): Promise<number> => {
      await run('sync', [])
      const start = performance.now()
      await ctr('image', 'export', archive, bigImage.name)
      const seconds = (performance.now() - start) / 1000
      await rm(archive)
      return seconds
    }
    await exportOnce()
    return {
      measure: async () => ({ [name]: await exportOnce() }),
      [Symbol.asyncDispose]: nothing,
    }
  },
}
