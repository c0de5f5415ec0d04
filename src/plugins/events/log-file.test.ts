import assert from 'node:assert/strict'
import { mkdtempDisposableSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { mountAll, unmountRecursive } from '#sys/mount.ts'
import { handlesOf } from '#testing/handles.ts'
import { root } from '#testing/root.ts'

import { EventLogFile } from './log-file.ts'

// One that is left to the garbage collector ends the whole daemon.
test('a log that cannot go on for want of room leaves no file open', async (t) => {
  if (!root(t)) return
  using dir = mkdtempDisposableSync(join(tmpdir(), 'wharf-events-'))
  mountAll([{ type: 'tmpfs', source: 'tmpfs', options: ['size=64k'] }], dir.path)
  try {
    const { signal } = new AbortController()
    const begin = async (): Promise<void> =>
      await (await EventLogFile.open(dir.path, signal))[Symbol.asyncDispose]()
    await begin()
    assert.throws(() => writeFileSync(join(dir.path, 'more'), Buffer.alloc(64 << 10)), {
      code: 'ENOSPC',
    })
    // Each beginning is a record, until they fill the last block that there is.
    const beginning = async (): Promise<void> => {
      for (let n = 0; n < 1000; n++) await begin()
    }
    await assert.rejects(beginning(), { code: 'ENOSPC' })
    assert.deepEqual(
      handlesOf('self').filter((path) => path.startsWith(dir.path)),
      [],
    )
  } finally {
    unmountRecursive(dir.path)
  }
})
