import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { lstatSync, mkdirSync, mkdtempDisposableSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { gzipSync } from 'node:zlib'

import { fromBinary } from '@bufbuild/protobuf'

import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import { SnapshotPrepareSchema } from '#gen/events/snapshot_pb.ts'
import { mountAll, unmountRecursive } from '#sys/mount.ts'
import { everyContainerd } from '#testing/containerd.ts'
import { run, type TestDaemon, startDaemon } from '#testing/daemon.ts'
import { archive, dir, file, hard } from '#testing/layer-archive.ts'

/*
 * The typed client unpacks the layers of one image at the same time, and what comes out is what one
 * after the other makes.
 */

const sha256 = (bytes: Uint8Array): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`

/** Writes an image of these layers to `path`, as an OCI layout. */
function writeLayout(name: string, layers: readonly Buffer[], path: string): void {
  using scratch = mkdtempDisposableSync(join(tmpdir(), 'layout-'))
  const blobs = join(scratch.path, 'blobs/sha256')
  mkdirSync(blobs, { recursive: true })
  const put = (mediaType: string, bytes: Uint8Array): object => {
    const digest = sha256(bytes)
    writeFileSync(join(blobs, digest.slice(7)), bytes)
    return { mediaType, digest, size: bytes.length }
  }
  const json = (type: string, value: unknown): object =>
    put(`application/vnd.oci.image.${type}.v1+json`, Buffer.from(JSON.stringify(value)))
  const config = json('config', {
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    rootfs: { type: 'layers', diff_ids: layers.map(sha256) },
  })
  const gzip = 'application/vnd.oci.image.layer.v1.tar+gzip'
  const manifest = json('manifest', {
    schemaVersion: 2,
    config,
    layers: layers.map((layer) => put(gzip, gzipSync(layer))),
  })
  const annotations = { 'io.containerd.image.name': name }
  const index = { schemaVersion: 2, manifests: [{ ...manifest, annotations }] }
  writeFileSync(join(scratch.path, 'index.json'), JSON.stringify(index))
  writeFileSync(join(scratch.path, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  execFileSync('tar', ['-cf', path, '-C', scratch.path, '.'])
}

suite('unpacking an image', { skip: process.getuid?.() !== 0 && 'needs root' }, () => {
  let daemon: TestDaemon
  let client: Client

  before(async () => {
    daemon = await startDaemon({ config: '[debug]\nlevel = "debug"' })
    client = await connect(daemon.address, { namespace: 'unpack' })
  })
  after(async () => {
    await client?.[Symbol.asyncDispose]()
    await daemon?.[Symbol.asyncDispose]()
  })

  /** Imports an image of `layers` and gives what `look` sees in its root, mounted. */
  async function unpacked<T>(layers: readonly Buffer[], look: (root: string) => T): Promise<T> {
    const name = `docker.io/library/unpack:${sha256(Buffer.concat([...layers])).slice(7, 19)}`
    const path = join(daemon.dir, 'image.tar')
    writeLayout(name, layers, path)
    const [image] = await client.images.import(path)
    return await inside((await image?.chainId()) ?? '', look)
  }

  /** What `look` sees in the snapshot `name`, mounted. */
  async function inside<T>(name: string, look: (root: string) => T): Promise<T> {
    const labels = { 'containerd.io/gc.root': 'yes' }
    const mounts = await client.snapshots().view(`view ${name}`, name, { labels })
    const root = join(daemon.dir, 'mounted')
    mkdirSync(root, { recursive: true })
    mountAll(mounts, root)
    try {
      return look(root)
    } finally {
      unmountRecursive(root)
      await client.snapshots().remove(`view ${name}`)
    }
  }

  const names = (root: string): readonly string[] =>
    String(execFileSync('find', ['.', '!', '-name', '.', '-printf', '%P\n'], { cwd: root }))
      .split('\n')
      .filter(Boolean)
      .toSorted()

  void test('what an upper layer deletes is gone, and what it makes opaque shows only its own', async () => {
    const found = await unpacked(
      [
        archive(
          dir('a/'),
          file('a/gone'),
          file('a/kept'),
          dir('o/'),
          file('o/old'),
          dir('d/'),
          file('d/old'),
        ),
        archive(dir('a/'), file('a/.wh.gone'), dir('o/'), file('o/.wh..wh..opq'), file('o/new')),
        archive(file('.wh.d'), file('top')),
        archive(dir('d/'), file('d/new')),
      ],
      names,
    )
    assert.deepEqual(found, ['a', 'a/kept', 'd', 'd/new', 'o', 'o/new', 'top'])
  })

  void test('a directory that a layer leaves out keeps what the layer below says of it', async () => {
    const layers = [archive(dir('tmp/', { mode: 0o1777 })), archive(file('tmp/x', 'x'))]
    const stat = await unpacked(layers, (root) => lstatSync(join(root, 'tmp')))
    assert.equal(stat.mode & 0o7777, 0o1777)
  })

  void test('a hard link may name a file of a layer below', async () => {
    const layers = [
      archive(file('f', 'content')),
      archive(file('g'), { ...hard('h', 'f'), mode: 0o600 }),
    ]
    const found = await unpacked(layers, (root) =>
      ['f', 'h'].map((name) => {
        const { size, nlink, mode } = lstatSync(join(root, name))
        return [size, nlink, mode & 0o777]
      }),
    )
    assert.deepEqual(found, [
      [7, 2, 0o600],
      [7, 2, 0o600],
    ])
  })

  void test('an opaque root hides all that is below', async () => {
    const layers = [
      archive(dir('d/'), file('d/old'), file('f')),
      archive(dir('d/'), file('d/new'), file('.wh..wh..opq')),
    ]
    assert.deepEqual(await unpacked(layers, names), ['d', 'd/new'])
  })

  void test('snapshots are named and chained as ever, and blobs and config labelled', async () => {
    const layers = Array.from({ length: 12 }, (_, i) => archive(file(`f${i}`, `${i}`)))
    await unpacked(layers, (root) => assert.equal(names(root).length, 12))
    let chain = ''
    for (const layer of layers) {
      const parent = chain
      chain = chain === '' ? sha256(layer) : sha256(Buffer.from(`${chain} ${sha256(layer)}`))
      const info = await client.snapshots().stat(chain)
      assert.deepEqual([info.kind, info.parent], ['committed', parent])
      const blob = await client.content.info(client.context(), sha256(gzipSync(layer)))
      assert.equal(blob.labels['containerd.io/uncompressed'], sha256(layer))
    }
    const refs: string[] = []
    for await (const { labels } of client.content.list(client.context())) {
      const ref = labels['containerd.io/gc.ref.snapshot.overlayfs']
      if (ref !== undefined) refs.push(ref)
    }
    assert.ok(refs.includes(chain))
    for await (const { name } of client.snapshots().list()) assert.ok(!name.startsWith('extract-'))
  })

  void test('a layer with other content than the config says leaves nothing behind', async () => {
    const good = archive(file('good'))
    const path = join(daemon.dir, 'bad.tar')
    writeLayout('docker.io/library/bad:1', [good, archive(file('bad')).subarray(0, 700)], path)
    await assert.rejects(client.images.import(path), /unexpected EOF/)
    for await (const { name } of client.snapshots().list()) assert.ok(!name.startsWith('extract-'))
  })

  void test('clients that unpack one image at once do the work once', async () => {
    const layers = Array.from({ length: 3 }, (_, i) => archive(file(`once${i}`, 'x'.repeat(9999))))
    const path = join(daemon.dir, 'once.tar')
    writeLayout('docker.io/library/once:1', layers, path)
    const [image] = await client.images.import(path, { unpack: false })
    assert.ok(image)
    const parents: string[] = []
    const stop = new AbortController()
    const events = (async () => {
      const filters = ['topic=="/snapshot/prepare"']
      try {
        for await (const { event } of client.events(filters, stop)) {
          parents.push(fromBinary(SnapshotPrepareSchema, event.value).parent)
        }
      } catch (err) {
        if (!stop.signal.aborted) throw err
      }
    })()
    const others = Array.from({ length: 5 }, () => client.with({}))
    const tops = await Promise.all(
      others.map(async (other) => (await other.images.get(image.name)).unpack()),
    )
    assert.equal(new Set(tops).size, 1)
    stop.abort()
    await events
    // Each was extracted alone, not on the one below it.
    assert.deepEqual(
      parents,
      layers.map(() => ''),
    )
  })

  /** How often the daemon has unpacked each blob, by its log. */
  async function timesApplied(): Promise<ReadonlyMap<string, number>> {
    const times = new Map<string, number>()
    for (const [, digest = ''] of (await daemon.log()).matchAll(
      /diff applied.*digest="?([^" ]+)/g,
    )) {
      times.set(digest, (times.get(digest) ?? 0) + 1)
    }
    return times
  }

  void test('processes that unpack one image at once have the work done once', async () => {
    const layers = Array.from({ length: 3 }, (_, i) =>
      archive(file(`shared${i}`, `${i}`.repeat(4_000_000))),
    )
    const path = join(daemon.dir, 'shared.tar')
    writeLayout('docker.io/library/shared:1', layers, path)
    const [image] = await client.images.import(path, { unpack: false })
    assert.ok(image)
    await using scope = new AsyncDisposableStack()
    const others: Client[] = []
    for (let i = 0; i < 4; i++) {
      others.push(scope.use(await connect(daemon.address, { namespace: 'unpack' })))
    }
    const tops = await Promise.all(
      others.map(async (other) => (await other.images.get(image.name)).unpack()),
    )
    assert.equal(new Set(tops).size, 1)
    const times = await timesApplied()
    for (const layer of layers) assert.equal(times.get(sha256(gzipSync(layer))), 1)
    for await (const { name } of client.snapshots().list()) assert.ok(!name.startsWith('extract-'))
    assert.deepEqual(await inside(tops[0] ?? '', names), ['shared0', 'shared1', 'shared2'])
  })

  void test('every ctr that imports one image at once succeeds', async () => {
    const layers = Array.from({ length: 2 }, (_, i) => archive(file(`many${i}`, 'x'.repeat(3e6))))
    const path = join(daemon.dir, 'many.tar')
    writeLayout('docker.io/library/many:1', layers, path)
    for (const { ctr, major } of everyContainerd()) {
      const local = major === 1 ? [] : ['--local']
      const args = ['-a', daemon.address, '-n', `many${major}`, 'image', 'import', ...local, path]
      const ran = await Promise.all(Array.from({ length: 4 }, async () => await run(ctr, args)))
      for (const { code, stderr } of ran) {
        // A ctr asks to update the name and then to create it: two may find none, and one of them comes late.
        const isLate = /^ctr: image "[^"]+": already exists\s*$/.test(stderr)
        const last = isLate ? await run(ctr, args) : { code, stderr }
        assert.equal(last.code, 0, last.stderr)
      }
      const theirs = client.with({ namespace: `many${major}` })
      const [image] = await theirs.images.list()
      const info = await theirs.snapshots().stat((await image?.chainId()) ?? '')
      assert.equal(info.kind, 'committed')
    }
  })
})
