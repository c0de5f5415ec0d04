import { rm } from 'node:fs/promises'
import { join } from 'node:path'

import { run } from '#testing/daemon.ts'

import { nothing, type Prepared, type Row, type Subject } from './row.ts'

const name = 'ctr image export'
const own = 'ctr image export, with its own ctr'

/**
 * A large image into an archive: `ctr` 1.x reads its blobs from the daemon and writes a file; since 2.0 the daemon
 * sends the archive.
 */
export const exporting: Row = {
  name: 'export',
  bigImage: true,
  figures: [name, own].map((each) => ({ name: each, unit: 's', better: 'lower' })),
  setup: async (subject: Subject): Promise<Prepared> => {
    const { ctr, ownCtr, bigImage, daemon } = subject
    if (!bigImage) throw new Error('no image was made to export')
    await ctr('image', 'import', '--no-unpack', bigImage.file)
    const archive = join(daemon.dir, 'export.tar')
    const exportBy = async (program: Subject['ctr']): Promise<number> => {
      await run('sync', [])
      const start = performance.now()
      await program('image', 'export', archive, bigImage.name)
      const seconds = (performance.now() - start) / 1000
      await rm(archive)
      return seconds
    }
    await exportBy(ctr)
    await exportBy(ownCtr)
    return {
      measure: async () => ({ [name]: await exportBy(ctr), [own]: await exportBy(ownCtr) }),
      [Symbol.asyncDispose]: nothing,
    }
  },
}
