import assert from 'node:assert/strict'
import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { unmountRecursive } from '#sys/mount.ts'
import { containerd1 } from '#testing/containerd.ts'
import { type TestDaemon, run, startDaemon } from '#testing/daemon.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'
import { root } from '#testing/root.ts'

import { processesWith, until } from './runtime-bench.ts'

const image = 'docker.io/library/busybox:latest'
const plugin = 'io.containerd.runtime.v2.task'
const namespace = `reboot-${process.pid}`

async function ctr(daemon: TestDaemon, ...args: readonly string[]): Promise<string> {
  const { ctr: program = 'ctr' } = containerd1() ?? {}
  const flags = ['--connect-timeout', '10s', '-a', daemon.address, '-n', namespace]
  const { code, stdout, stderr } = await run(program, [...flags, ...args])
  assert.equal(code, 0, `ctr ${args.join(' ')}: ${stderr}`)
  return stdout
}

/** What a machine does that goes down: processes and mounts end, and the state directory was in memory. */
async function reboot(daemon: TestDaemon): Promise<void> {
  const tasks = await ctr(daemon, 'task', 'ls')
  const pids = [...tasks.matchAll(/^\S+\s+(\d+)\s+RUNNING/gm)].map(([, pid]) => Number(pid))
  await daemon.stop('SIGKILL')
  for (const pid of [...processesWith('containerd-shim', daemon.dir), ...pids]) {
    process.kill(pid, 'SIGKILL')
  }
  await until('every process has ended', () => pids.every((pid) => !existsSync(`/proc/${pid}`)))
  unmountRecursive(daemon.state)
  // Go's shims have the state of the OCI runtime outside of the daemon's, and in memory, too.
  for (const path of [daemon.state, join('/run/containerd/runc', namespace)]) {
    rmSync(path, { recursive: true, force: true })
  }
  await daemon.start()
}

void suite('after a reboot', { skip: containerd1() ? false : 'needs ctr' }, () => {
  for (const builtinShim of [true, false]) {
    const shim = builtinShim ? 'the built-in host' : "Go's shim"
    void test(`names are free and nothing of ${shim} is left`, { timeout: 120_000 }, async (t) => {
      if (!root(t)) return
      const config = `[plugins."${plugin}"]\nbuiltin_shim = ${builtinShim}\n`
      await using daemon = await startDaemon({ config })
      await writeImage(busyboxImage(image), join(daemon.dir, 'image.tar'))
      await ctr(daemon, 'image', 'import', join(daemon.dir, 'image.tar'))
      for (const id of ['one', 'two']) await ctr(daemon, 'run', '-d', image, id, 'sleep', '1000')

      await reboot(daemon)
      assert.equal(await ctr(daemon, 'task', 'ls', '-q'), '')
      const work = join(daemon.root, plugin, namespace)
      await until('no work directory is left', () => readdirSync(work).length === 0)
      // The record of the container is kept, and can have a task again.
      await ctr(daemon, 'task', 'start', '-d', 'one')
      assert.match(await ctr(daemon, 'task', 'ls'), /^one\s+\d+\s+RUNNING$/m)
      await ctr(daemon, 'task', 'rm', '-f', 'one')
      await ctr(daemon, 'container', 'rm', 'one', 'two')
      assert.equal(await ctr(daemon, 'run', '--rm', image, 'two', 'echo', 'again'), 'again\n')
    })
  }
})
