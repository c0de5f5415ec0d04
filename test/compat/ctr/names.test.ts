import assert from 'node:assert/strict'
import { readlink, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { busyboxImage } from '#testing/image.ts'

import { busybox, sideBySide } from './pair.ts'

sideBySide('version and plugins', (pair) => {
  test('version answers with both versions', async () => {
    const { code, stdout } = await pair().ctr('version')
    assert.equal(code, 0)
    assert.match(stdout, /^Client:/)
    assert.match(stdout, /^Server:\n {2}Version: /m)
    assert.match(stdout, /^ {2}UUID: [0-9a-f-]{36}$/m)
  })

  test('the server keeps its UUID over a restart', async () => {
    const uuid = async (): Promise<string | undefined> =>
      (await pair().ctr('version')).stdout.match(/UUID: (\S+)/)?.[1]
    const first = await uuid()
    await pair().ours.stop()
    await pair().ours.start()
    assert.ok(first)
    assert.equal(await uuid(), first)
  })

  test('install puts the programs of an image where the daemon looks for them', async () => {
    await pair().import(busyboxImage())
    await pair().same(['install', busybox])
    const bin = join(pair().ours.dir, 'opt', 'bin')
    assert.equal((await stat(join(bin, 'busybox'))).mode & 0o777, 0o755)
    assert.equal(await readlink(join(bin, 'sh')), 'busybox')
    await pair().same(['install', busybox])
    await pair().same(['install', '--replace', busybox])
  })

  test('plugins ls has the plugins that clients look for', async () => {
    const { code, stdout } = await pair().ctr('plugins', 'ls')
    assert.equal(code, 0)
    const rows = stdout.split('\n').map((line) => line.trim().split(/\s+/).join(' '))
    for (const row of [
      'io.containerd.content.v1 content - ok',
      'io.containerd.internal.v1 opt - ok',
      'io.containerd.snapshotter.v1 overlayfs linux/amd64 ok',
      'io.containerd.metadata.v1 bolt - ok',
      'io.containerd.differ.v1 walking linux/amd64 ok',
      'io.containerd.event.v1 exchange - ok',
      'io.containerd.gc.v1 scheduler - ok',
      'io.containerd.runtime.v2 task linux/amd64 ok',
      'io.containerd.service.v1 tasks-service - ok',
      'io.containerd.grpc.v1 tasks - ok',
      'io.containerd.grpc.v1 version - ok',
    ]) {
      assert.ok(rows.includes(row.replace('amd64', goArch())), `${row}\n${stdout}`)
    }
  })
})

const goArch = (): string => (process.arch === 'x64' ? 'amd64' : process.arch)

sideBySide('namespaces', (pair) => {
  test('are created, labelled, listed and removed', async () => {
    await pair().all(
      'namespaces create one',
      'namespaces create two a=b c=d',
      'namespaces ls',
      'namespaces ls -q',
      'namespaces label two a=x e=f',
      'namespaces ls',
      'namespaces label two a=',
      'namespaces ls',
      'namespaces rm one',
      'namespaces ls',
    )
  })

  test('refuse what is wrong with the same words', async () => {
    await pair().all(
      'namespaces create two',
      'namespaces create bad/name',
      'namespaces create -- -bad',
      'namespaces rm missing',
      'namespaces create',
    )
  })

  test('are not removed while they hold something', async () => {
    await pair().all('-n full leases create --id l1', '-n full images ls', 'namespaces rm full')
  })
})

sideBySide('leases', (pair) => {
  test('are created, listed and removed', async () => {
    await pair().all(
      'leases create --id l1',
      'leases create --id l2 --expires 0s a=b',
      'leases ls -q',
      'leases create --id l1',
      'leases rm l1',
      'leases rm l1',
      'leases ls -q',
      'leases rm --sync l2',
      'leases ls',
    )
    const { stdout } = await pair().ctr('leases', 'create')
    assert.match(stdout, /^\S+\n$/)
  })
})
