import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'

import { jsonTypes } from '#core/any/any.ts'
import { readBlob } from '#core/content/read-blob.ts'
import { writeBlob } from '#core/content/write-blob.ts'
import type { Context } from '#core/context.ts'
import type { Metadata } from '#core/metadata/metadata.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { decodeVarint } from '#lib/go/varint.ts'
import { type PluginSet, start } from '#plugin/graph.ts'
import { defaultSettings } from '#plugin/settings.ts'
import { contentPlugin } from '#plugins/content/local/plugin.ts'
import { exchangePlugin } from '#plugins/events/plugin.ts'
import { metadataPlugin } from '#plugins/metadata/plugin.ts'
import { overlayPlugin } from '#plugins/snapshots/overlay/plugin.ts'
import { MetadataPlugin } from '#plugins/types.ts'
import { type Containerd, everyContainerd } from '#testing/containerd.ts'
import { newContext } from '#testing/context.ts'
import { writeImage } from '#testing/image.ts'
import { root } from '#testing/root.ts'
import { type GoDaemon, startGo } from '#testing/start-go.ts'

const imageName = 'example.com/two-layers:1'
const gcRoot = 'containerd.io/gc.root=yes'

/** Makes one of everything, in namespace `there`. */
async function fill(go: GoDaemon, dir: string): Promise<void> {
  const archive = join(dir, 'image.tar')
  const layers = [{ 'etc/one': 'first' }, { 'etc/two': 'second' }]
  await writeImage({ name: imageName, layers, gzip: true }, archive)
  const ctr = async (...args: string[]): Promise<string> => await go.ctr(['-n', 'there', ...args])
  await go.ctr(['namespaces', 'create', 'there', 'purpose=test'])
  await ctr('images', 'import', '--no-unpack', archive).catch(
    // ctr 1.6 has no such flag, and does not need it to leave what follows the same.
    async () => await ctr('images', 'import', archive),
  )
  await ctr('images', 'label', imageName, 'tier=gold')
  await ctr('containers', 'create', '--label', 'role=db', imageName, 'c1')
  await ctr('leases', 'create', '--id', 'held', 'why=because')
  await go.ctr(['-n', 'there', 'content', 'ingest', 'loose'], 'loose blob')
  await ctr('content', 'label', digestOf('loose blob'), gcRoot)
  await ctr('snapshots', 'prepare', 'work')
  await ctr('snapshots', 'commit', 'base', 'work')
  await ctr('snapshots', 'prepare', 'next', 'base')
  await ctr('snapshots', 'label', 'next', gcRoot)
}

const openOurs = async (t: TestContext, dir: string): Promise<PluginSet> =>
  await start(newContext(t), [contentPlugin, exchangePlugin, overlayPlugin, metadataPlugin], {
    daemon: {
      root: join(dir, 'root'),
      state: join(dir, 'state'),
      address: '',
      ttrpcAddress: '',
      settings: defaultSettings,
      serving: Promise.resolve(),
    },
    required: [metadataPlugin.uri],
  })

function metadataOf(set: PluginSet): Metadata {
  const metadata = set.all(MetadataPlugin).get('bolt')
  assert.ok(metadata)
  return metadata
}

/** Everything `fill` made, as we see it. */
async function checkTheirs(ctx: Context, metadata: Metadata): Promise<void> {
  const { labels } = await metadata.namespaces.get(ctx, 'there')
  assert.equal(labels['purpose'], 'test')
  const image = await metadata.images.get(ctx, imageName)
  assert.equal(image.labels['tier'], 'gold')
  const manifest = await readBlob(ctx, metadata.content, image.target.digest, 1 << 20)
  assert.equal(manifest.length, image.target.size)
  const container = await metadata.containers.get(ctx, 'c1')
  assert.deepEqual(
    [container.image, container.labels['role'], container.snapshotKey, container.snapshotter],
    [imageName, 'db', 'c1', 'overlayfs'],
  )
  assert.equal(container.spec?.typeUrl, jsonTypes.spec)
  const spec: unknown = JSON.parse(Buffer.from(container.spec.value).toString())
  assert.ok(typeof spec === 'object' && spec !== null && 'process' in spec)
  const leases = await metadata.leases.list(ctx, ['id==held'])
  assert.equal(leases[0]?.labels['why'], 'because')
  const loose = await readBlob(ctx, metadata.content, digestOf('loose blob'), 100)
  assert.equal(Buffer.from(loose).toString(), 'loose blob')
  const sn = metadata.snapshotters.get('overlayfs')
  assert.ok(sn)
  assert.equal((await sn.stat(ctx, 'base')).kind, 'committed')
  assert.equal((await sn.stat(ctx, 'next')).parent, 'base')
  assert.equal((await sn.stat(ctx, 'c1')).kind, 'active')
  assert.ok((await sn.mounts(ctx, 'c1')).length > 0)
}

/** What we add: a little of everything, in namespace `here`, and changes of theirs. */
async function addOurs(ctx: Context, metadata: Metadata): Promise<void> {
  const here = { ...ctx, namespace: 'here', lease: 'ours' }
  await metadata.namespaces.create(ctx, { name: 'here', labels: { who: 'wharf' } })
  await metadata.leases.create(here, { id: 'ours', labels: { a: 'b' } })
  const digest = digestOf('our blob')
  const labels = { note: 'ours' }
  await writeBlob(here, metadata.content, [Buffer.from('our blob')], { ref: 'up', digest, labels })
  const target = { mediaType: 'text/plain', digest, size: 8 }
  await metadata.images.create(here, { name: 'our/image:1', labels: {}, target })
  const sn = metadata.snapshotters.get('overlayfs')
  assert.ok(sn)
  await sn.prepare(here, 'a', '')
  await sn.commit(here, 'ours', 'a', { labels: { layer: '1' } })
  await sn.prepare(here, 'root', 'ours')
  const theirs = await metadata.containers.get(ctx, 'c1')
  const more = { id: 'c2', snapshotKey: 'root', labels: { made: 'here' } }
  await metadata.containers.create(here, { ...theirs, ...more })
  await metadata.containers.update(ctx, { ...theirs, labels: { role: 'web' } }, ['labels.role'])
  await metadata.images.update(
    ctx,
    { ...(await metadata.images.get(ctx, imageName)), labels: { tier: 'silver' } },
    ['labels.tier'],
  )
  await sn.remove(ctx, 'next')
}

/** Everything, as they see it. */
async function checkOurs({ ctr }: GoDaemon): Promise<void> {
  assert.match(await ctr(['namespaces', 'ls']), /^here\s+who=wharf/m)
  const here = async (...args: string[]): Promise<string> => await ctr(['-n', 'here', ...args])
  const there = async (...args: string[]): Promise<string> => await ctr(['-n', 'there', ...args])
  assert.match(await here('images', 'ls'), /our\/image:1\s+text\/plain/)
  assert.equal(await here('content', 'get', digestOf('our blob')), 'our blob')
  assert.match(await here('content', 'ls'), /\s8\s?B\s.*note=ours/)
  assert.match(await here('leases', 'ls'), /ours\s+\S+\s+a=b/)
  assert.match(await here('containers', 'ls'), /c2\s+example\.com\/two-layers:1/)
  assert.match(await here('containers', 'info', 'c2'), /"made": "here"[^]*"ociVersion"/)
  const snapshots = await here('snapshots', 'ls')
  assert.match(snapshots, /^ours\s+Committed/m)
  assert.match(snapshots, /^root\s+ours\s+Active/m)
  assert.match(await here('snapshots', 'mounts', '/mnt', 'root'), /overlay|bind/)
  await here('snapshots', 'prepare', 'more', 'ours')
  await here('snapshots', 'rm', 'more')
  assert.match(await there('containers', 'info', 'c1'), /"role": "web"/)
  assert.match(await there('images', 'ls'), /tier=silver/)
  assert.doesNotMatch(await there('snapshots', 'ls'), /^next /m)
  assert.match(await there('snapshots', 'ls'), /^c1 /m)
  await here('containers', 'rm', 'c2')
  await here('images', 'rm', '--sync', 'our/image:1')
}

async function versionOf(path: string): Promise<number> {
  await using database = await openDatabase(path, { readOnly: true })
  return database.view((tx) =>
    Number(decodeVarint(tx.bucket('v1')?.get('version') ?? new Uint8Array())),
  )
}

async function handOver(t: TestContext, go: Containerd, dir: string): Promise<void> {
  const ctx = { ...newContext(t), namespace: 'there' }
  {
    await using theirs = await startGo(t, go, dir, '1h')
    await fill(theirs, dir)
  }
  {
    await using ours = await openOurs(t, dir)
    const metadata = metadataOf(ours)
    await checkTheirs(ctx, metadata)
    // It may not take anything that they keep.
    await metadata.collect(ctx)
    await checkTheirs(ctx, metadata)
    await addOurs(ctx, metadata)
    await metadata.collect(ctx)
  }
  assert.equal(await versionOf(join(dir, 'root/io.containerd.metadata.v1.bolt/meta.db')), 4)
  {
    await using theirs = await startGo(t, go, dir)
    await checkOurs(theirs)
  }
  await using again = await openOurs(t, dir)
  const metadata = metadataOf(again)
  assert.deepEqual(await metadata.containers.list({ ...ctx, namespace: 'here' }), [])
  assert.equal((await metadata.containers.get(ctx, 'c1')).labels['role'], 'web')
}

for (const go of everyContainerd()) {
  suite(`metadata of containerd ${go.version}`, () => {
    test('a root is handed over, and back, and over again', async (t) => {
      if (!root(t)) return
      await using dir = await mkdtempDisposable(join(tmpdir(), 'metadata-go-'))
      await handOver(t, go, dir.path)
    })
  })
}
