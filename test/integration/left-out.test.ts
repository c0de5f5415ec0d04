import assert from 'node:assert/strict'
import { lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { connect } from '#client/connect.ts'
import { startDaemon } from '#testing/daemon.ts'
import { ImageRegistry } from '#testing/image-registry.ts'
import { archive, dir, file } from '#testing/layer-archive.ts'
import { mounted } from '#testing/layers.ts'

/* Layers that have files in directories which they leave out, because a layer below has them. */

const layers = [
  archive(dir('srv/', { mode: 0o1770, uid: 7 }), file('srv/first', '1')),
  archive(file('srv/second', '2'), file('new/file', '2')),
  archive(file('srv/third', '3'), dir('new/', { mode: 0o700 })),
  archive(file('new/fourth', '4'), file('srv/fourth', '4')),
]

const skip = process.getuid?.() !== 0 && 'needs root'
suite('layers that leave out directories', { skip, timeout: 120_000 }, () => {
  test('are unpacked at once, and each only once', async () => {
    await using registry = await ImageRegistry.open()
    await using daemon = await startDaemon({ config: '[debug]\nlevel = "debug"\n' })
    await using client = await connect(daemon.address, { namespace: 'left', fifoDir: daemon.dir })
    const manifest = registry.putImage(layers.map((layer) => registry.putGzip(layer)))
    const image = await client.images.pull(registry.tag(manifest, 'v1'))
    const mounts = await client.snapshots().view('look', await image.chainId())
    await mounted(mounts, (root) => {
      const [srv, made] = [lstatSync(join(root, 'srv')), lstatSync(join(root, 'new'))]
      assert.deepEqual([srv.mode & 0o7777, srv.uid], [0o1770, 7])
      assert.equal(made.mode & 0o7777, 0o700)
      assert.deepEqual(readdirSync(join(root, 'srv')), ['first', 'fourth', 'second', 'third'])
    })
    assert.equal((await daemon.log()).match(/diff applied/g)?.length, layers.length)
  })
})
