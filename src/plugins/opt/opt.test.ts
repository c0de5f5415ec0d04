import assert from 'node:assert/strict'
import { mkdtempDisposable, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { start } from '#plugin/graph.ts'
import { defaultSettings } from '#plugin/settings.ts'
import { newContext } from '#testing/context.ts'

import { optPlugin } from './plugin.ts'

test('what is installed from images is found first, while the daemon runs', async (t) => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'opt-'))
  const path = join(dir.path, 'opt')
  const before = { path: process.env['PATH'], libraries: process.env['LD_LIBRARY_PATH'] ?? '' }
  {
    await using set = await startOpt(path)
    assert.deepEqual(set.statuses[0]?.meta.exports, { path })
    assert.equal((await stat(join(path, 'bin'))).mode & 0o777, 0o711)
    assert.equal(process.env['PATH'], `${path}/bin:${before.path}`)
    assert.match(process.env['LD_LIBRARY_PATH'] ?? '', /\/opt\/lib(:[^:]+)*$/)
    {
      await using _another = await startOpt(join(dir.path, 'other'))
      assert.match(process.env['PATH'] ?? '', /^\S+\/other\/bin:\S+\/opt\/bin:/)
    }
    assert.equal(process.env['PATH'], `${path}/bin:${before.path}`)
  }
  assert.deepEqual(
    { path: process.env['PATH'], libraries: process.env['LD_LIBRARY_PATH'] ?? '' },
    before,
  )

  async function startOpt(at: string) {
    return await start(newContext(t), [optPlugin], {
      configs: new Map([[optPlugin.uri, { path: at }]]),
      daemon: {
        root: dir.path,
        state: dir.path,
        address: '',
        ttrpcAddress: '',
        settings: defaultSettings,
        serving: Promise.resolve(),
      },
    })
  }
})
