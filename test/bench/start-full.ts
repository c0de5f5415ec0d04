import { join } from 'node:path'

import { writeLabels, writeSize, writeTimes } from '#core/metadata/fields.ts'
import { blobsOf, leasesOf, make } from '#core/metadata/schema.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { startDaemon, type TestDaemon } from '#testing/daemon.ts'

import type { Prepared, Row, Subject } from './row.ts'
import { firstAnswer } from './start.ts'

const empty = 'start to first answer, empty root'
const full = 'start to first answer, 100 000 objects'
const overEmpty = 'start to first answer, that over empty'

/** Written in one transaction: all at once would be too much of the file in memory. */
const batch = 5000

/** From the start of the process to the first answer, with nothing in `meta.db` and with 100 000 objects. */
export const startFull: Row = {
  name: 'start-full',
  figures: [
    { name: empty, unit: 'ms', better: 'lower' },
    { name: full, unit: 'ms', better: 'lower' },
    { name: overEmpty, unit: '×', better: 'lower' },
  ],
  setup: async (subject: Subject): Promise<Prepared> => {
    const { containerd } = subject.contender
    const { program } = subject
    await using scope = new AsyncDisposableStack()
    const open = async (): Promise<TestDaemon> =>
      scope.use(await startDaemon(containerd ? { containerd } : { program }))
    const [few, many] = [await open(), await open()]
    await few.stop()
    await many.stop()
    await fill(many, subject.quick ? batch : 100_000)
    const owned = scope.move()
    return {
      measure: async () => {
        const [low, high] = [await startOf(few), await startOf(many)]
        return { [empty]: low, [full]: high, [overEmpty]: high / low }
      },
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    }
  },
}

/** Starts a daemon that was stopped, and stops it again. @returns ms to its first answer */
async function startOf(daemon: TestDaemon): Promise<number> {
  const before = performance.now()
  const booted = daemon.start()
  const answered = firstAnswer(daemon.address).then(() => performance.now() - before)
  const [ms] = await Promise.all([answered, booted])
  await daemon.stop()
  return ms
}

/** Records of blobs as a pull leaves them, which a lease holds. */
async function fill(daemon: TestDaemon, count: number): Promise<void> {
  const path = join(daemon.root, 'io.containerd.metadata.v1.bolt', 'meta.db')
  await using database = await openDatabase(path, { noSync: true })
  const now = new Date()
  for (let done = 0; done < count; done += batch) {
    await database.update((tx) => {
      const blobs = make(tx, blobsOf('default'))
      const held = make(tx, [...leasesOf('default'), 'held', 'content'])
      for (let n = done; n < done + batch; n++) {
        const digest = digestOf(`blob ${n}`)
        const blob = blobs.createBucket(digest)
        writeTimes(blob, { createdAt: now, updatedAt: now })
        writeLabels(blob, { 'containerd.io/distribution.source.docker.io': 'library/some' })
        writeSize(blob, n)
        held.put(digest, '')
      }
    })
  }
}
