import assert from 'node:assert/strict'
import { mkdtempDisposable, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'

import { describe } from '#lib/errors/errors.ts'
import { type PluginSet, start } from '#plugin/graph.ts'
import { defaultSettings } from '#plugin/settings.ts'
import { contentPlugin } from '#plugins/content/local/plugin.ts'
import { exchangePlugin } from '#plugins/events/plugin.ts'
import { gcPlugin } from '#plugins/gc/plugin.ts'
import { leasesPlugin } from '#plugins/leases/plugin.ts'
import { nativePlugin } from '#plugins/snapshots/native/plugin.ts'
import { GcPlugin, LeasePlugin, MetadataPlugin } from '#plugins/types.ts'
import { newContext } from '#testing/context.ts'

import { metadataPlugin } from './plugin.ts'

const plugins = [
  leasesPlugin,
  gcPlugin,
  metadataPlugin,
  contentPlugin,
  exchangePlugin,
  nativePlugin,
]

const boot = async (t: TestContext, root: string, config?: object): Promise<PluginSet> =>
  await start(newContext(t), plugins, {
    daemon: {
      root,
      state: root,
      address: '',
      ttrpcAddress: '',
      settings: defaultSettings,
      serving: Promise.resolve(),
    },
    configs: config
      ? new Map([[metadataPlugin.uri, { ...metadataPlugin.config, ...config }]])
      : new Map(),
  })

void suite('metadata plugin', () => {
  void test('it keeps its file where containerd does, and tells where', async (t) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'metadata-plugin-'))
    await using set = await boot(t, dir.path)
    const path = join(dir.path, 'io.containerd.metadata.v1.bolt', 'meta.db')
    assert.equal((await stat(path)).mode & 0o777, 0o644 & ~process.umask())
    const status = set.statuses.find(({ plugin }) => plugin === metadataPlugin)
    assert.deepEqual(status?.meta.exports, { policy: 'shared', path })
    const metadata = set.all(MetadataPlugin).get('bolt')
    assert.deepEqual([...(metadata?.snapshotters.keys() ?? [])], ['native'])
    const scheduler = set.statuses.find(({ plugin }) => plugin === gcPlugin)
    assert.deepEqual(scheduler?.meta.exports, {
      PauseThreshold: '0.02',
      DeletionThreshold: '0',
      MutationThreshold: '100',
      ScheduleDelay: '0s',
    })
  })

  void test('two daemons do not share a root', async (t) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'metadata-plugin-'))
    await using _first = await boot(t, dir.path)
    await using second = await boot(t, dir.path)
    const status = second.statuses.find(({ plugin }) => plugin === metadataPlugin)
    assert.equal(status?.state, 'failed')
    assert.match(describe(status?.error), /meta\.db" is locked by another process/)
  })

  void test('an unknown policy is refused', async (t) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'metadata-plugin-'))
    await using set = await boot(t, dir.path, { contentSharingPolicy: 'some' })
    const status = set.statuses.find(({ plugin }) => plugin === metadataPlugin)
    assert.equal(describe(status?.error), 'unknown policy: some: invalid argument')
  })

  void test('a lease deleted synchronously takes with it what only it held', async (t) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'metadata-plugin-'))
    await using set = await boot(t, dir.path)
    const ctx = newContext(t)
    const metadata = set.all(MetadataPlugin).get('bolt')
    const leases = set.all(LeasePlugin).get('manager')
    const sn = metadata?.snapshotters.get('native')
    assert.ok(sn && leases && set.all(GcPlugin).get('scheduler'))
    await leases.create(ctx, { id: 'l', labels: {} })
    await sn.prepare({ ...ctx, lease: 'l' }, 'work', '')
    await leases.delete(ctx, 'l', { synchronous: true })
    assert.deepEqual(await Array.fromAsync(sn.list(ctx)), [])
  })
})
