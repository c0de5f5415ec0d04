import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'

import { mountInfo } from '#sys/mount-info.ts'
import { containerd1, containerd2 } from '#testing/containerd.ts'
import { run, startDaemon } from '#testing/daemon.ts'
import { ext4File } from '#testing/ext4-file.ts'
import { busyboxImage, busyboxLayer, writeImage } from '#testing/image.ts'
import { loopFileSystem } from '#testing/loop-file-system.ts'
import { root } from '#testing/root.ts'

const image = 'docker.io/library/busybox:latest'

interface Kind {
  readonly name: string
  /** Of the snapshotter's section. */
  readonly config: string
}

/**
 * Has wharfd import an image of three layers and run it, then the real thing if it has such a
 * snapshotter, then wharfd again; each on what the one before left.
 */
async function relay(t: TestContext, kind: Kind): Promise<void> {
  const [go, newer] = [containerd1(), containerd2()]
  if (!root(t)) return
  if (!go) return t.skip('no ctr')
  await using dir = await mkdtempDisposable(join(tmpdir(), 'relay-'))
  const archive = join(dir.path, 'image.tar')
  const layers = [busyboxLayer, { below: 'a' }, { below: 'b', above: 'c' }]
  await writeImage({ ...busyboxImage(image), layers }, archive)
  const config = `[plugins."io.containerd.snapshotter.v1.${kind.name}"]\n${kind.config}`
  // They have one directory, which goes with the first that is disposed of.
  await using daemons = new AsyncDisposableStack()
  let first: readonly string[] | undefined
  for (const containerd of [undefined, newer, undefined]) {
    const daemon = daemons.use(
      await startDaemon({ dir: join(dir.path, 'd'), config, ...(containerd && { containerd }) }),
    )
    const ctr = async (line: string): Promise<string> => {
      const args = ['-a', daemon.address, ...line.split(' ')]
      const { code, stdout, stderr } = await run(go.ctr, args)
      assert.equal(code, 0, `${line}: ${stdout}${stderr}`)
      return stdout
    }
    if (!first) await ctr(`images import --snapshotter ${kind.name} ${archive}`)
    const snapshots = (await ctr(`snapshots --snapshotter ${kind.name} ls`)).split('\n')
    first ??= snapshots
    assert.deepEqual(snapshots, first)
    const said = await ctr(`run --rm --snapshotter ${kind.name} ${image} one cat below above`)
    assert.equal(said, 'bc')
    await daemon.stop()
  }
}

suite('containers on snapshots of every kind', () => {
  test('native', async (t) => await relay(t, { name: 'native', config: '' }))

  test('blockfile', async (t) => {
    if (!root(t)) return
    using ext4 = ext4File()
    await relay(t, { name: 'blockfile', config: `scratch_file = "${ext4.path}"` })
    const left = mountInfo().filter(({ mountPoint }) => mountPoint.includes('/relay-'))
    assert.deepEqual(left, [])
  })

  test('btrfs', async (t) => {
    const btrfs = loopFileSystem({ type: 'btrfs', size: 512, args: ['-q'] })
    if (typeof btrfs === 'string') return t.skip(btrfs)
    using place = btrfs
    await relay(t, { name: 'btrfs', config: `root_path = "${join(place.path, 'snapshots')}"` })
  })
})
