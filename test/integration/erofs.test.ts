import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, suite, test } from 'node:test'

import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import { missingForErofs } from '#plugins/snapshots/erofs/probe.ts'
import { mountInfo } from '#sys/mount-info.ts'
import { type TestDaemon, startDaemon } from '#testing/daemon.ts'
import { busyboxImage, busyboxLayer, writeImage } from '#testing/image.ts'

import { until } from './runtime-bench.ts'

const image = 'docker.io/library/busybox:latest'
const snapshotter = 'erofs'
/** Go's shim keeps the state of its containers in one place for all daemons of the machine. */
const namespace = `erofs${process.pid}`
const manager = 'io.containerd.mount-manager.v1.bolt'

/** Why containers cannot run from erofs here; false when they can. */
const skip = (process.getuid?.() !== 0 && 'needs root') || (missingForErofs() ?? false)

interface Settings {
  readonly builtinShim: boolean
  readonly defaultSize: string
}

async function open({ builtinShim, defaultSize }: Settings) {
  await using scope = new AsyncDisposableStack()
  const config = `[plugins."io.containerd.runtime.v2.task"]
builtin_shim = ${builtinShim}
[plugins."io.containerd.snapshotter.v1.erofs"]
default_size = "${defaultSize}"
`
  const daemon = scope.use(await startDaemon({ config }))
  const layers = [busyboxLayer, { 'second/file': 'second', 'bin/.wh.dd': '' }]
  await writeImage({ ...busyboxImage(image), layers }, join(daemon.dir, 'image.tar'))
  const client = scope.use(await reconnect(daemon))
  const [imported] = await client.images.import(join(daemon.dir, 'image.tar'), { unpack: false })
  await imported?.unpack({ snapshotter })
  const owned = scope.move()
  return { daemon, client, [Symbol.asyncDispose]: async () => await owned.disposeAsync() }
}

const reconnect = async (daemon: TestDaemon): Promise<Client> =>
  await connect(daemon.address, { namespace, fifoDir: daemon.dir, snapshotter })

/** What is mounted for a daemon's containers, and where the manager has it. */
const mountsOf = ({ state }: TestDaemon): string[] =>
  mountInfo().flatMap(({ mountPoint }) => (mountPoint.startsWith(state) ? [mountPoint] : []))
const activations = ({ state }: TestDaemon): string[] => readdirSync(join(state, manager, 't'))
const loops = ({ dir }: TestDaemon): string =>
  execFileSync('losetup', ['--list', '--noheadings', '--output', 'BACK-FILE'])
    .toString()
    .split('\n')
    .filter((line) => line.includes(dir))
    .join()

/** The kernel lets go of a device after the last mount of it, which a shim may still be closing. */
async function nothingLeft(daemon: TestDaemon): Promise<void> {
  assert.deepEqual(mountsOf(daemon), [])
  assert.deepEqual(activations(daemon), [])
  await until('the loop devices are gone', () => loops(daemon) === '')
}

after(() => rmSync(join('/run/containerd/runc', namespace), { recursive: true, force: true }))

for (const settings of [
  { builtinShim: true, defaultSize: '' },
  { builtinShim: true, defaultSize: '16MiB' },
  { builtinShim: false, defaultSize: '' },
]) {
  const shim = settings.builtinShim ? 'the built-in host' : "Go's shim"
  const where = settings.defaultSize === '' ? 'in a directory' : 'in a file'
  void suite(`containers from erofs with ${shim}, writing ${where}`, { skip }, () => {
    test('run, write, and leave no mount', { timeout: 120_000 }, async () => {
      await using opened = await open(settings)
      const { daemon, client } = opened
      const script =
        'cat /second/file; test ! -e /bin/dd && echo gone; echo new > /bin/new; ls /bin/new'
      await using container = await client.containers.create('c', {
        image,
        args: ['sh', '-c', script],
      })
      let said = ''
      const exit = await container.run({
        stdout: (chunk) => void (said += Buffer.from(chunk).toString()),
      })
      assert.deepEqual([exit.status, said], [0, 'secondgone\n/bin/new\n'])
      await nothingLeft(daemon)
    })

    test('go on when the daemon is killed, and are cleaned up after', {
      timeout: 120_000,
    }, async () => {
      await using opened = await open(settings)
      const { daemon, client } = opened
      await client.containers.create('c', { image, args: ['sleep', '1000'] })
      const before = await client.containers.get('c')
      await before.start()
      assert.equal(activations(daemon).length, 1)
      await daemon.stop('SIGKILL')
      await daemon.start()
      assert.equal(activations(daemon).length, 1)
      await using again = await reconnect(daemon)
      const container = await again.containers.get('c')
      await using task = await container.task()
      let said = ''
      const exit = await task.exec({
        args: ['sh', '-c', 'exec 2>&1; echo x > /written && cat /second/file'],
        stdout: (chunk) => void (said += Buffer.from(chunk).toString()),
      })
      assert.deepEqual([exit.status, said], [0, 'second'])
      await task.kill('SIGKILL')
      await task.wait()
      await task.delete()
      await nothingLeft(daemon)
    })
  })
}
