import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { connect } from '#client/connect.ts'
import { startDaemon } from '#testing/daemon.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'
import { root } from '#testing/root.ts'

const image = 'docker.io/library/busybox:latest'

/** The shim host of a process: its parent. */
const hostOf = (pid: number): number =>
  Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])

suite('who shares a shim host', () => {
  void test('with isolation "container" nobody does, also after a restart', {
    timeout: 120_000,
  }, async (t) => {
    if (!root(t)) return
    const config = '[plugins."io.containerd.runtime.v2.task"]\nisolation = "container"\n'
    await using daemon = await startDaemon({ config })
    await writeImage(busyboxImage(image), join(daemon.dir, 'oci.tar'))
    const open = async () =>
      await connect(daemon.address, { namespace: 'isolated', fifoDir: daemon.dir })
    const args = ['sleep', '1000']
    const hosts: number[] = []
    {
      await using client = await open()
      await client.images.import(join(daemon.dir, 'oci.tar'))
      for (const id of ['a', 'b']) {
        const container = (await client.containers.create(id, { image, args })).keep()
        hosts.push(hostOf((await container.start()).pid))
      }
    }
    await daemon.stop('SIGKILL')
    await daemon.start()
    await using client = await open()
    await using container = await client.containers.create('c', { image, args })
    await using task = await container.start()
    hosts.push(hostOf(task.pid))
    assert.equal(new Set(hosts).size, 3)
    for (const id of ['a', 'b']) {
      const found = await client.containers.get(id)
      await (await found.task()).end()
      await found.delete()
    }
    // Each ends with its container.
    const gone = hosts.slice(0, 2).map((pid) => `/proc/${pid}`)
    while (gone.some((path) => existsSync(path))) await new Promise(setImmediate)
    assert.ok(existsSync(`/proc/${hosts[2]}`))
  })
})
