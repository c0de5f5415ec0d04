import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempDisposableSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'

import { parseTar } from '#lib/tar/parser.ts'
import { endOfArchive } from '#lib/tar/writer.ts'
import { hostPlatform } from '#core/platforms/platforms.ts'
import type { ImageReference, ImageTarget } from '#core/transfer/transfer.ts'
import { containerd1, containerd2 } from '#testing/containerd.ts'
import { run } from '#testing/daemon.ts'
import { eventually } from '#testing/eventually.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { busyboxImage, type ImageSource, writeImage } from '#testing/image.ts'

import { writeIndexArchive } from '#testing/oci-layout.ts'
import { Side } from './sides.ts'

/*
 * The same archives go into containerd 2, by its own `ctr`, and into wharfd, by what is tested here: names,
 * labels, content and snapshots must be the same. Archives that both make of it must be the same bytes.
 */

const peer = containerd2()
const skip =
  (process.getuid?.() !== 0 && 'needs root') || (!peer && 'needs containerd 2, see tools/peer.ts')

const today = new Date().toISOString().slice(0, 10)
const busybox = 'docker.io/library/busybox:latest'
const layered: ImageSource = {
  name: 'example.com/layered:1',
  layers: [{ 'a/b': 'one' }, { 'a/.wh.b': '', c: 'two' }],
}

/** What `ctr image import` asks of the daemon for these flags. */
interface Flags {
  readonly baseName?: string
  readonly digests?: boolean
  readonly skipNamed?: boolean
  readonly indexName?: string
  readonly allPlatforms?: boolean
  readonly noUnpack?: boolean
  readonly labels?: Readonly<Record<string, string>>
}

function targetOf(flags: Flags): ImageTarget {
  const prefix: ImageReference = {
    name: flags.baseName ?? `import-${today}`,
    isPrefix: true,
    allowOverwrite: flags.baseName === undefined,
    addDigest: flags.digests === true,
    // It is the other way round in `ctr`, too.
    skipNamedDigest: flags.digests === true && flags.skipNamed !== true,
  }
  return {
    name: flags.indexName ?? '',
    labels: flags.labels ?? {},
    platforms: flags.allPlatforms ? [] : [hostPlatform],
    extraReferences: [prefix],
    unpacks: flags.noUnpack ? [] : [{ platform: hostPlatform, snapshotter: 'overlayfs' }],
  }
}

const argsOf = (flags: Flags): readonly string[] => [
  ...(flags.baseName ? ['--base-name', flags.baseName] : []),
  ...(flags.digests ? ['--digests'] : []),
  ...(flags.skipNamed ? ['--skip-digest-for-named'] : []),
  ...(flags.indexName ? ['--index-name', flags.indexName] : []),
  ...(flags.allPlatforms ? ['--all-platforms'] : []),
  ...(flags.noUnpack ? ['--no-unpack'] : []),
  ...Object.entries(flags.labels ?? {}).flatMap(([key, value]) => ['--label', `${key}=${value}`]),
]

const sum = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** The files of an archive, in order: digests, and the text of what says what they are. */
function contentsOf(archive: Uint8Array): readonly string[] {
  const contents: string[] = []
  const pieces: Uint8Array[] = []
  let name = ''
  parseTar([archive], {
    entry: (entry) => void ({ name } = entry),
    data: (bytes) => void pieces.push(bytes),
    end() {
      const bytes = Buffer.concat(pieces.splice(0))
      contents.push(`${name} ${name.endsWith('.json') ? bytes.toString() : sum(bytes)}`)
    },
  })
  return contents
}

suite('archives beside containerd', { skip }, () => {
  let theirs: Side
  let ours: Side
  let scratch: ReturnType<typeof mkdtempDisposableSync>
  const file = (of: string): string => join(scratch.path, `${of}.tar`)
  let used = 0

  before(async () => {
    scratch = mkdtempDisposableSync(join(tmpdir(), 'archives-'))
    assert.ok(peer)
    theirs = await Side.start(peer)
    ours = await Side.startWharf(peer)
    await writeImage(busyboxImage(busybox), file('oci'))
    await writeImage(layered, file('layered'))
    await writeImage({ ...layered, name: 'short:2', format: 'docker' }, file('docker'))
    await writeIndexArchive(file('index'))
    const copied = [
      ['copy', `oci-archive:${file('oci')}`, `oci-archive:${file('skopeo-oci')}:tagged`],
      ['copy', `oci-archive:${file('layered')}`, `docker-archive:${file('skopeo-docker')}:app:3`],
    ]
    for (const args of copied) {
      const { code, stderr } = await run('skopeo', ['--insecure-policy', ...args])
      assert.equal(code, 0, stderr)
    }
  })
  after(async () => {
    await theirs?.[Symbol.asyncDispose]()
    await ours?.[Symbol.asyncDispose]()
    scratch?.[Symbol.dispose]()
  })

  /**
   * Imports into new namespaces of both, into ours over its API and, as into theirs, by the daemon itself, and
   * compares all that is there then.
   */
  async function sameImport(of: string, flags: Flags = {}): Promise<string> {
    const namespace = `ns${++used}`
    await theirs.ctr(namespace, 'image', 'import', ...argsOf(flags), file(of))
    await ours.import(namespace, file(of), targetOf(flags))
    await ours.ctr(`${namespace}-daemon`, 'image', 'import', ...argsOf(flags), file(of))
    const expected = await theirs.estate(namespace)
    assert.deepEqual(await ours.estate(namespace), expected)
    assert.deepEqual(await ours.estate(`${namespace}-daemon`), expected)
    return namespace
  }

  /** Exports from both, and compares the bytes. */
  async function sameExport(
    namespace: string,
    names: readonly string[],
    flags: { readonly all?: boolean; readonly skipJson?: boolean } = {},
  ): Promise<void> {
    const args = [
      ...(flags.all ? ['--all-platforms'] : []),
      ...(flags.skipJson ? ['--skip-manifest-json'] : []),
    ]
    const exportOf = async (side: Side): Promise<Buffer> => {
      const out = file(`export${++used}`)
      return await eventually(async () => {
        await side.ctr(namespace, 'image', 'export', ...args, out, ...names)
        const archive = readFileSync(out)
        // A ctr 2.x ends with the call, and may not have written by then all that the daemon has sent.
        return archive.subarray(-endOfArchive.length).equals(endOfArchive) ? archive : undefined
      })
    }
    const expected = await exportOf(theirs)
    const sources = names.map((name) => ({ name, platforms: [hostPlatform] }))
    const made = await ours.export(namespace, sources, {
      allPlatforms: flags.all === true,
      skipCompatibilityManifest: flags.skipJson === true,
    })
    assert.deepEqual(contentsOf(made), contentsOf(expected))
    assert.equal(sum(made), sum(expected))
    assert.equal(sum(await exportOf(ours)), sum(made))
  }

  for (const kind of ['oci', 'layered', 'docker', 'skopeo-oci', 'skopeo-docker', 'index']) {
    test(`${kind}: names, labels, content and snapshots are containerd's`, async () => {
      await sameImport(kind)
    })
    test(`${kind}: so they are under names of digests and an index`, async () => {
      await sameImport(kind, { digests: true, noUnpack: true, labels: { a: 'b' } })
      await sameImport(kind, { digests: true, skipNamed: true, noUnpack: true })
      await sameImport(kind, { indexName: 'example.com/index:all', noUnpack: true })
    })
    test(`${kind}: so they are under a name to begin with`, async () => {
      for (const baseName of ['example.com/layered', 'docker.io/library/busybox', 'other']) {
        await sameImport(kind, { baseName, digests: baseName !== 'other', noUnpack: true })
      }
    })
  }

  test('what is exported are the bytes of containerd', async () => {
    const single = await sameImport('oci', { noUnpack: true })
    await sameExport(single, [busybox])
    await sameExport(single, [busybox], { skipJson: true, all: true })
    const docker = await sameImport('docker', { noUnpack: true })
    await sameExport(docker, ['docker.io/library/short:2'])
    const index = await sameImport('index', { noUnpack: true, indexName: 'example.com/all:1' })
    await sameExport(index, ['example.com/many:1'])
    await sameExport(index, ['example.com/many:1'], { skipJson: true })
    // The one for all is an index in an index, which goes out whole or not at all.
    const all = [{ name: 'example.com/all:1', platforms: [hostPlatform] }]
    await rejectsWith('not_found', ours.export(index, all, {}))
  })

  test('archives of either ctr are read, also compressed', async () => {
    for (const go of [containerd1(), peer]) {
      if (!go) continue
      await using maker = await Side.start(go)
      await maker.ctr('made', 'image', 'import', file('oci'))
      await maker.ctr('made', 'image', 'import', file('layered'))
      await maker.ctr('made', 'image', 'export', file('both'), busybox, layered.name)
      await sameImport('both')
      writeFileSync(file('gzipped'), gzipSync(readFileSync(file('both'))))
      writeFileSync(file('zstd'), zstdCompressSync(readFileSync(file('both'))))
      const plain = `ns${++used}`
      await ours.import(plain, file('both'), targetOf({}))
      for (const packed of ['gzipped', 'zstd']) {
        const namespace = `ns${++used}`
        await ours.import(namespace, file(packed), targetOf({}))
        assert.deepEqual(await ours.estate(namespace), await ours.estate(plain))
      }
    }
  })

  test('layers of a Docker archive are compressed if asked', async () => {
    const namespace = `ns${++used}`
    await ours.import(namespace, file('docker'), targetOf({}), true)
    const { content, images } = await ours.estate(namespace)
    assert.equal(images.length, 1)
    const compressed = Object.values(content).filter(
      (labels) => labels['containerd.io/uncompressed'],
    )
    assert.equal(compressed.length, 2)
    // The compressed layers take the place of the others from then on, in containerd, too.
    const again = await ours.estate(namespace)
    await ours.import(namespace, file('docker'), targetOf({}))
    assert.deepEqual((await ours.estate(namespace)).images, again.images)
  })

  test('what is converted has the digests and labels of containerd', async () => {
    for (const [of, from] of [
      ['oci', busybox],
      ['docker', 'docker.io/library/short:2'],
    ] as const) {
      const [converted, daemons] = [`ns${++used}`, `ns${++used}`]
      await ours.import(converted, file(of), targetOf({}))
      await theirs.ctr(daemons, 'image', 'import', file(of))
      await theirs.ctr(
        daemons,
        'image',
        'convert',
        '--all-platforms',
        '--uncompress',
        '--oci',
        from,
        'plain:1',
      )
      const top = await ours.convert(converted, from, 'plain:1', { layers: 'none', oci: true })
      assert.deepEqual(await ours.estate(converted), await theirs.estate(daemons))
      // Compressed otherwise it is the same to run, and back again it is what it was.
      assert.equal(await ours.convert(converted, from, 'small:1', { layers: 'zstd' }), top)
      assert.equal(await ours.convert(converted, 'small:1', 'back:1', { layers: 'none' }), top)
      const { images } = await ours.estate(converted)
      const digests = new Map(images.map(({ name, target }) => [name, target.digest]))
      assert.equal(digests.get('back:1'), digests.get('plain:1'))
      assert.notEqual(digests.get('small:1'), digests.get('plain:1'))
    }
  })
})
