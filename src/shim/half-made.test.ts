import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { mountInfo } from '#sys/mount-info.ts'
import { root } from '#testing/root.ts'

import { endRuntimes, removeEmptyCgroups } from './half-made.ts'

const hierarchy = mountInfo().find(({ type }) => type === 'cgroup' || type === 'cgroup2')

async function withBundle(cgroupsPath: string, body: (bundle: string) => Promise<void>) {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'half-made-'))
  writeFileSync(join(dir.path, 'config.json'), JSON.stringify({ linux: { cgroupsPath } }))
  await body(dir.path)
}

suite('a container that was cut off in the making', () => {
  test('loses the runtime that works on it, and no other', async () => {
    await withBundle('/x', async (bundle) => {
      const start = (log: string) =>
        spawn(process.execPath, ['-e', 'setTimeout(() => {}, 1e6)', '--', '--log', log, 'create'])
      const mine = start(join(bundle, 'log.json'))
      const other = start(join(bundle, '..', 'other', 'log.json'))
      await Promise.all([once(mine, 'spawn'), once(other, 'spawn')])
      const ended = once(mine, 'exit')
      await endRuntimes(bundle)
      assert.deepEqual(await ended, [null, 'SIGKILL'])
      assert.equal(other.exitCode ?? other.signalCode, null)
      other.kill()
      await once(other, 'exit')
    })
  })

  test('loses its control groups if nobody is in them', async (t) => {
    if (!root(t) || !hierarchy) return
    const name = `/half-made-${process.pid}`
    const path = join(hierarchy.mountPoint, name)
    await withBundle(name, async (bundle) => {
      mkdirSync(path)
      await removeEmptyCgroups(bundle)
      assert.ok(!existsSync(path))

      mkdirSync(path)
      const child = spawn('sleep', ['1000'])
      await once(child, 'spawn')
      writeFileSync(join(path, 'cgroup.procs'), String(child.pid))
      await removeEmptyCgroups(bundle)
      assert.ok(existsSync(path), 'somebody is in there')
      child.kill()
      await once(child, 'exit')
      rmdirSync(path)
    })
  })

  test('a path that leads elsewhere is not followed', async (t) => {
    if (!root(t) || !hierarchy) return
    const name = `half-made-other-${process.pid}`
    const path = join(hierarchy.mountPoint, name)
    mkdirSync(path)
    await withBundle(`/x/../${name}`, removeEmptyCgroups)
    await withBundle(`system.slice:x:${name}`, removeEmptyCgroups)
    await withBundle('', removeEmptyCgroups)
    assert.ok(existsSync(path))
    rmdirSync(path)
  })
})
