import assert from 'node:assert/strict'
import { chmod, mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'

import { mountInfo } from '#sys/mount-info.ts'
import { type Containerd, containerd1, containerd2 } from '#testing/containerd.ts'
import { run, startDaemon } from '#testing/daemon.ts'
import { busyboxImage, busyboxLayer, type ImageSource, writeImage } from '#testing/image.ts'
import { root } from '#testing/root.ts'

const image = 'docker.io/library/busybox:latest'

type Ctr = (line: string, command?: string) => Promise<string>

/** A daemon with an image, and `ctr`, which fails when it is not content. */
async function imported(
  t: TestContext,
  go: Containerd | undefined,
  source: ImageSource,
  body: (ctr: Ctr, dir: string) => Promise<void>,
): Promise<void> {
  if (!root(t)) return
  if (!go) return t.skip('no such ctr')
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'mapped-'))
  const archive = join(scratch.path, 'image.tar')
  await writeImage(source, archive)
  // Long enough that the layers of a chain can't be named in one page.
  const place = join(scratch.path, 'a-place-that-is-deep'.repeat(8))
  const config = `[plugins."io.containerd.snapshotter.v1.overlayfs"]\nroot_path = "${place}"`
  await using daemon = await startDaemon({ config })
  // Who root of a container is has to get to its root file system.
  await chmod(daemon.dir, 0o711)
  const ctr: Ctr = async (line, command) => {
    const args = [
      '-a',
      daemon.address,
      ...line.split(' '),
      ...(command ? ['sh', '-c', command] : []),
    ]
    const { code, stdout, stderr } = await run(go.ctr, args)
    assert.equal(code, 0, `${line}: ${stdout}${stderr}${await daemon.log()}`)
    return stdout
  }
  await ctr(`images import ${go.major >= 2 ? '--local ' : ''}${archive}`)
  await body(ctr, daemon.dir)
}

/** What is above busybox: a layer for each number. */
const layers = (count: number): ImageSource => ({
  ...busyboxImage(image),
  layers: [
    busyboxLayer,
    ...Array.from({ length: count }, (_, at) => ({ [`layer/${at}`]: '', top: `${at}` })),
  ],
})

/** ctr 1.6 has these options and cannot mount what they make, to look for users. */
const mapped = '--uidmap 0:100000:65536 --gidmap 0:200000:65536 --remap-labels'
const who = 'cat /proc/self/uid_map; ls -lnd / /bin /tmp; echo x > /tmp/new; ls -ln /tmp/new'

suite('containers in a user namespace', () => {
  test('one is made, and its layers are its own', async (t) => {
    await imported(t, containerd2(), busyboxImage(image), async (ctr, dir) => {
      const said = await ctr(`run --rm ${mapped} ${image} one`, who)
      assert.match(said, /^\s+0\s+100000\s+65536\n/)
      const owners = [...said.matchAll(/^[d-]\S+\s+\d+\s+(\d+)\s+(\d+) .* (\/\S*)$/gm)]
      assert.deepEqual(
        owners.map(([, uid, gid, path]) => `${uid}:${gid} ${path}`),
        ['0:0 /', '0:0 /bin', '0:0 /tmp', '0:0 /tmp/new'],
      )
      const left = mountInfo().filter(({ mountPoint }) => mountPoint.startsWith(dir))
      assert.deepEqual(left, [])
    })
  })

  test('its ids may be in several ranges', async (t) => {
    await imported(t, containerd2(), busyboxImage(image), async (ctr) => {
      const ranges = ['0:100000:1000', '1000:300000:64536']
      const maps = ranges.map((range) => `--uidmap ${range} --gidmap ${range}`).join(' ')
      const said = await ctr(`run --rm ${maps} --remap-labels ${image} one`, who)
      assert.match(said, /^\s+0\s+100000\s+1000\n\s+1000\s+300000\s+64536\n/)
      assert.match(said, /^-\S+\s+1\s+0\s+0 .* \/tmp\/new$/m)
    })
  })

  test('it may have more layers than a page has names of', async (t) => {
    await imported(t, containerd2(), layers(30), async (ctr) => {
      const said = await ctr(`run --rm ${mapped} ${image} one`, 'ls /layer | wc -l; cat /top')
      assert.equal(said.replaceAll(/\s+/g, ' ').trim(), '30 29')
    })
  })
})

test('a container of 210 layers runs from a place with a long name', async (t) => {
  await imported(t, containerd1(), layers(210), async (ctr) => {
    const said = await ctr(`run --rm ${image} one`, 'ls /layer | wc -l; cat /top')
    assert.equal(said.replaceAll(/\s+/g, ' ').trim(), '210 209')
  })
})
