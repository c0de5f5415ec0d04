import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { containerd1 } from '#testing/containerd.ts'
import { type TestDaemon, run, startDaemon } from '#testing/daemon.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'
import { root } from '#testing/root.ts'

import { until } from './runtime-bench.ts'

const image = 'docker.io/library/busybox:latest'
const plugin = 'io.containerd.runtime.v2.task'
const rounds = 4

/** Runs `ctr` in a namespace of its own. */
async function ctr(daemon: TestDaemon, ...args: readonly string[]) {
  const { ctr: program = 'ctr' } = containerd1() ?? {}
  const flags = ['--connect-timeout', '3s', '-a', daemon.address, '-n', 'killed']
  return await run(program, [...flags, ...args])
}

const entries = (path: string): string[] => (existsSync(path) ? readdirSync(path) : [])

/** Kills the daemon somewhere in the middle of containers that come and go. */
async function killWhileRunning(daemon: TestDaemon, round: number): Promise<void> {
  const running = Array.from({ length: 4 }, (_, n) =>
    ctr(daemon, 'run', '--rm', image, `c${round}-${n}`, '/bin/busybox', 'sleep', '0.05'),
  )
  await sleep(50 + Math.random() * 600)
  await daemon.stop('SIGKILL')
  await Promise.all(running)
  await daemon.start()
}

/** What a user does with the tasks that are left: those whose creation had come to its end. */
async function removeTasks(daemon: TestDaemon): Promise<void> {
  const { stdout } = await ctr(daemon, 'task', 'ls', '-q')
  for (const id of stdout.split('\n').filter((line) => line !== '')) {
    await ctr(daemon, 'task', 'kill', '-s', 'SIGKILL', id)
    await until(`${id} is removed`, async () => (await ctr(daemon, 'task', 'rm', id)).code === 0)
  }
}

void suite('a daemon that is killed', { skip: containerd1() ? false : 'needs ctr' }, () => {
  for (const builtinShim of [true, false]) {
    const shim = builtinShim ? 'the built-in host' : "Go's shim"
    void test(`leaves nothing of its containers with ${shim}`, { timeout: 240_000 }, async (t) => {
      if (!root(t)) return
      const config = `[plugins."${plugin}"]\nbuiltin_shim = ${builtinShim}\n`
      await using daemon = await startDaemon({ config })
      await writeImage(busyboxImage(image), join(daemon.dir, 'image.tar'))
      const imported = await ctr(daemon, 'image', 'import', join(daemon.dir, 'image.tar'))
      assert.equal(imported.code, 0, imported.stderr)

      for (let round = 0; round < rounds; round++) await killWhileRunning(daemon, round)
      const [state, work] = [daemon.state, daemon.root].map((dir) => join(dir, plugin, 'killed'))
      await until('every shim is found or cleaned up', async () => {
        await removeTasks(daemon)
        return entries(state ?? '').length === 0 && entries(work ?? '').length === 0
      })
      assert.ok(!readFileSync('/proc/self/mountinfo', 'utf8').includes(state ?? ''))
      const runc = join(builtinShim ? daemon.state : '/run/containerd', 'runc', 'killed')
      assert.deepEqual(entries(runc), [])
      if (existsSync(runc)) rmdirSync(runc)
    })
  }
})
