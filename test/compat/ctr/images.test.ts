import assert from 'node:assert/strict'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'

import { run } from '#testing/daemon.ts'
import { busyboxImage, busyboxLayer, type ImageSource, writeImage } from '#testing/image.ts'

import { busybox, type Normalise, type Pair, sideBySide, withoutCollector } from './pair.ts'

/** Three layers: the upper ones delete a file, replace one, and hide a whole directory. */
const layered = (name: string): ImageSource => ({
  name,
  gzip: true,
  cmd: ['sh'],
  layers: [
    {
      ...busyboxLayer,
      'data/kept': 'from the first layer\n',
      'data/deleted': 'must not be seen\n',
      'data/changed': 'old\n',
      'opaque/old': 'must not be seen\n',
      'opaque/deep/old': 'must not be seen\n',
    },
    { 'data/.wh.deleted': '', 'data/changed': 'new\n', 'data/added': 'from the second layer\n' },
    { 'opaque/.wh..wh..opq': '', 'opaque/new': 'from the third layer\n' },
  ],
})

const seen =
  'cat data/kept data/changed data/added opaque/new; ls data opaque; ls -ld data/deleted opaque/deep'

/** Imports `source` on both with the same `ctr image import`, and compares what it says. */
async function importOnBoth(pair: Pair, source: ImageSource, ...flags: string[]): Promise<void> {
  const file = join(pair.ours.dir, 'archive.tar')
  await writeImage(source, file)
  try {
    await pair.same(['image', 'import', ...pair.local, ...flags, file])
  } finally {
    await rm(file)
  }
}

sideBySide('images', (pair) => {
  test('an OCI archive with gzip layers is imported, listed, checked and removed', async () => {
    await importOnBoth(pair(), busyboxImage(busybox))
    await pair().all(
      'image ls',
      'image ls -q',
      'image check',
      `image label ${busybox} a=b c=d`,
      'image ls labels.a==b',
      'image ls name~=busy',
      'image ls name==other',
      `image label --replace-all ${busybox} x=y`,
      'image ls',
      ['image tag', ...pair().local, busybox, 'example.com/other:1'].join(' '),
      'image ls -q',
      `image rm ${busybox}`,
      'image rm missing',
      'image rm --sync example.com/other:1',
      'image ls',
    )
    const { stdout } = await pair().ctr('content', 'ls', '-q')
    assert.equal(stdout, '', 'nothing refers to the blobs any more')
  })

  for (const format of ['oci', 'docker'] as const) {
    for (const gzip of format === 'oci' ? [true, false] : [false]) {
      const name = `example.com/${format}-${gzip ? 'gzip' : 'plain'}:1`
      test(`whiteouts and opaque directories of a ${format} archive, gzip ${gzip}`, async () => {
        await importOnBoth(pair(), { ...layered(name), format, gzip })
        await pair().same(['run', '--rm', name, `${format}1`, 'sh', '-c', seen])
        await pair().all('image check', `image rm --sync ${name}`)
      })
    }
  }

  test('an image that is unpacked is mounted and exported', async () => {
    await importOnBoth(pair(), busyboxImage(busybox))
    const file = join(pair().ours.dir, 'export.tar')
    const flags = pair().local
    await pair().same(['image', 'export', ...flags, file, busybox], { stderr: false })
    const { stdout } = await run('tar', ['-tf', file])
    assert.match(stdout, /index\.json/)
    const target = join(pair().ours.dir, 'mnt')
    await run('mkdir', ['-p', target])
    await pair().same(['image', 'mount', busybox, target])
    await pair().same(['image', 'unmount', '--rm', target])
  })

  test('a broken archive and a missing image are refused with the same words', async () => {
    const file = join(pair().ours.dir, 'broken.tar')
    await writeFile(file, 'not an archive')
    await pair().same(['image', 'import', ...pair().local, file], { codeOnly: true })
    await pair().all('run --rm example.com/missing:1 x')
  })
})

sideBySide(
  'content',
  (pair) => {
    test('blobs are listed, read, labelled and removed', async () => {
      await pair().same(['content', 'ls', '-q'])
      const { stdout } = await pair().ctr('content', 'ls', '-q')
      for (const digest of stdout.trim().split('\n').toSorted()) {
        const { stdout: blob } = await pair().same(['content', 'get', digest])
        assert.ok(blob.length > 0)
        await pair().same(['content', 'label', digest, 'who=me'])
      }
    })

    test('content is ingested from standard input, and read back', async () => {
      const file = join(pair().ours.dir, 'blob')
      await writeFile(file, 'hello content\n')
      for (const daemon of [pair().theirs, pair().ours]) {
        const ctr = `${pair().peer.ctr} -a ${daemon.address}`
        const { code, stderr } = await run('sh', ['-c', `${ctr} content ingest ref1 < ${file}`])
        assert.equal(code, 0, stderr)
      }
      const digest = 'sha256:2f84e24ddf911ae07b4164b51c7a6d31df03ab25153807157356d8387eeeea65'
      await pair().all(
        '-n default content ls',
        'content active',
        `-n default content get ${digest}`,
        '-n default content get sha256:bad',
        '-n default content get nonsense',
      )
    })

    test('a blob is edited into another', async () => {
      for (const daemon of [pair().theirs, pair().ours]) {
        const ctr = `${pair().peer.ctr} -n default -a ${daemon.address}`
        const { stdout } = await run('sh', ['-c', `${ctr} content ls -q`])
        const [digest = ''] = stdout.split('\n')
        const edit = `EDITOR='f() { echo bye > $1; }; f' ${ctr} content edit ${digest}`
        assert.match((await run('sh', ['-c', edit])).stdout, /^sha256:[0-9a-f]{64}/)
      }
      await pair().all('-n default content ls -q')
    })

    test('blobs are removed', async () => {
      const { stdout } = await pair().ctr('-n', 'default', 'content', 'ls', '-q')
      for (const digest of stdout.trim().split('\n')) {
        await pair().same(['-n', 'default', 'content', 'rm', digest])
      }
      await pair().all('-n default content ls', `content rm sha256:${'0'.repeat(64)}`)
    })

    test('an upload that was cut off is listed, and goes on where it stopped', async () => {
      const half = 'yes 0123456 | head -c 3000000'
      const ctr = `${pair().peer.ctr} -n default -a ${pair().ours.address}`
      const cut = `(${half}; sleep 2) | timeout -s KILL 1 ${ctr} content ingest cut`
      await run('sh', ['-c', `${cut} || true`])
      const { stdout } = await pair().ctr('-n', 'default', 'content', 'active')
      assert.match(stdout, /^cut\s+[1-9]/m)
      const whole = join(pair().ours.dir, 'whole')
      const again = `(${half}; echo end) > ${whole}; ${ctr} content ingest cut < ${whole}`
      const resumed = await run('sh', ['-c', again])
      assert.equal(resumed.code, 0, resumed.stderr)
      const files = await run('find', [pair().ours.root, '-path', '*ingest*', '-name', 'data'])
      assert.equal(files.stdout, '')
    })
  },
  { image: true, config: withoutCollector },
)

sideBySide(
  'snapshots',
  (pair) => {
    test('are prepared, viewed, mounted, committed, listed and removed', async () => {
      const { stdout } = await pair().ctr('snapshot', 'ls')
      const chain = stdout.match(/sha256:[0-9a-f]{64}/)?.[0] ?? ''
      // containerd 1.6 does not name the key in one of its messages.
      const normalise: Normalise = [[/(failed to commit snapshot) <ns>\/\d+\/\w+/g, '$1']]
      const commands = [
        'snapshot ls',
        `snapshot prepare work ${chain}`,
        'snapshot prepare base',
        `snapshot prepare work ${chain}`,
        'snapshot prepare x missing',
        `snapshot view seen ${chain}`,
        'snapshot ls',
        'snapshot tree',
        'snapshot mounts /target work',
        'snapshot mounts /target base',
        'snapshot mounts /target seen',
        'snapshot mounts /target missing',
        'snapshot commit done work',
        'snapshot commit done base',
        'snapshot commit x seen',
        'snapshot info done',
        'snapshot prepare child done',
        'snapshot rm done',
        'snapshot rm child',
        'snapshot label done a=b',
        'snapshot ls',
        'snapshot tree',
        'snapshot rm done',
        'snapshot rm seen',
        'snapshot rm base',
        'snapshot rm base',
        'snapshot --snapshotter nope ls',
        'snapshot --snapshotter native prepare n1',
        'snapshot --snapshotter native mounts /target n1',
        'snapshot --snapshotter native ls',
        'snapshot ls',
      ]
      for (const command of commands) await pair().same(command.split(' '), { normalise })
    })

    test('usage counts the files of a layer', async () => {
      await pair().all('snapshot usage')
    })

    test('a diff of two snapshots is a layer', async () => {
      const { stdout } = await pair().ctr('snapshot', 'ls')
      const chain = stdout.match(/sha256:[0-9a-f]{64}/)?.[0] ?? ''
      await pair().all(`snapshot prepare changed ${chain}`)
      const target = join(pair().ours.dir, 'changed')
      await run('mkdir', ['-p', target])
      const { stdout: mount } = await pair().ctr('snapshot', 'mounts', target, 'changed')
      await run('sh', ['-c', mount])
      await writeFile(join(target, 'new'), 'new file\n')
      await rm(join(target, 'etc/group'))
      await run('umount', [target])
      const { code, stderr } = await pair().ctr('snapshot', 'diff', '--keep', chain, 'changed')
      assert.equal(code, 0, stderr)
      const { stdout: blobs } = await pair().ctr('content', 'ls', '-q')
      const listing: string[] = []
      for (const digest of blobs.trim().split('\n')) {
        const path = digest.replace(':', '/')
        const file = join(pair().ours.root, 'io.containerd.content.v1.content/blobs', path)
        if ((await readFile(file)).subarray(0, 2).toString('hex') !== '1f8b') continue
        listing.push((await run('tar', ['-tzf', file])).stdout)
      }
      assert.ok(listing.some((text) => text.includes('etc/.wh.group') && text.includes('new\n')))
    })
  },
  { image: true, config: withoutCollector },
)
