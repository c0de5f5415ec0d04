import assert from 'node:assert/strict'
import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'

import { Introspection } from '#gen/services/introspection_pb.ts'
import { RuntimeRequestSchema } from '#gen/types/introspection_pb.ts'
import type { ServiceClient } from '#lib/rpc/rpc.ts'
import { notFound } from '#lib/errors/errors.ts'
import { type Plugin, type PluginStatus, SkipPlugin, definePlugin, each } from '#plugin/plugin.ts'
import { ContainersService, ContentService, RuntimePlugin, SnapshotPlugin } from '#plugins/types.ts'
import { pack } from '#proxy/convert/pack.ts'
import { newContext } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { introspectionApi } from './grpc.ts'

const pluginNamed = (id: string): Plugin =>
  definePlugin({
    type: SnapshotPlugin,
    id,
    requires: { a: ContentService, b: ContainersService, c: each(RuntimePlugin) },
    init: () => {
      throw new Error('never started')
    },
  })

const runtime = definePlugin({
  type: RuntimePlugin,
  id: 'task',
  init: () => {
    throw new Error('never started')
  },
})

const nothing = { platforms: [], capabilities: [], exports: {} }
const statuses: PluginStatus[] = [
  {
    plugin: pluginNamed('good'),
    meta: { platforms: ['linux/arm64/v8'], capabilities: ['remap-ids'], exports: { root: '/r' } },
    state: 'running',
    startMs: 1,
  },
  {
    plugin: pluginNamed('skipped'),
    meta: nothing,
    state: 'skipped',
    error: new SkipPlugin('no such file system'),
    startMs: 1,
  },
  {
    plugin: pluginNamed('failed'),
    meta: nothing,
    state: 'failed',
    error: new Error('open', { cause: notFound('disk') }),
    startMs: 1,
  },
  { plugin: runtime, meta: nothing, state: 'running', startMs: 1 },
]

const warnings = () => [
  {
    id: 'io.containerd.deprecation/cgroup-v1',
    message: 'old',
    lastOccurrence: new Date(1_700_000_000_123),
  } as const,
]

type Client = ServiceClient<typeof Introspection>

async function introspecting(
  t: TestContext,
  body: (client: Client, rootDir: string) => Promise<void>,
): Promise<void> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'introspection-'))
  const rootDir = join(dir.path, 'not', 'there', 'yet')
  const runtimes = new Map([
    [
      'task',
      {
        runtimeInfo: async (_ctx: unknown, name: string) => {
          await Promise.resolve()
          return { typeUrl: 'info', value: Buffer.from(name) }
        },
      },
    ],
  ])
  const api = introspectionApi({ rootDir, plugins: () => statuses, warnings, runtimes })
  await using served = await serve(newContext(t), [api])
  await body(served.connection.client(Introspection), rootDir)
}

test('a plugin is told with what it needs, has and can', async (t) => {
  await introspecting(t, async (client) => {
    const { plugins } = await client.plugins({ filters: ['id==good'] })
    const [plugin, ...others] = plugins
    assert.ok(plugin)
    assert.deepEqual(others, [])
    assert.deepEqual(plugin.requires, ['io.containerd.service.v1', 'io.containerd.runtime.v2'])
    assert.deepEqual(plugin.exports, { root: '/r' })
    assert.deepEqual(plugin.capabilities, ['remap-ids'])
    const [platform] = plugin.platforms
    assert.deepEqual(
      [platform?.os, platform?.architecture, platform?.variant],
      ['linux', 'arm64', 'v8'],
    )
    assert.equal(plugin.initErr, undefined)
  })
})

test('why a plugin does not run is told, so that a skip is known from a failure', async (t) => {
  await introspecting(t, async (client) => {
    const { plugins } = await client.plugins({ filters: ['type~="snapshotter"'] })
    const errors = plugins.map(({ id, initErr }) => [id, initErr?.code, initErr?.message])
    assert.deepEqual(errors, [
      ['good', undefined, undefined],
      ['skipped', 2, 'no such file system: skip plugin'],
      ['failed', 5, 'open: disk: not found'],
    ])
    await rejectsWith('invalid_argument', client.plugins({ filters: ['id=='] }))
  })
})

test('a root directory keeps its uuid, and one that is damaged is not replaced', async (t) => {
  await introspecting(t, async (client, rootDir) => {
    const first = await client.server({})
    assert.match(
      first.uuid,
      /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    )
    assert.equal(await readFile(join(rootDir, 'uuid'), 'utf8'), first.uuid)
    assert.equal((await client.server({})).uuid, first.uuid)
    assert.equal(first.pid, BigInt(process.pid))
    assert.ok(first.pidns > 0n)
  })
  await introspecting(t, async (client, rootDir) => {
    await client.server({})
    const api = introspectionApi({ rootDir, plugins: () => [], warnings, runtimes: new Map() })
    await writeFile(join(rootDir, 'uuid'), 'nonsense')
    await using served = await serve(newContext(t), [api])
    await rejectsWith('unknown', served.connection.client(Introspection).server({}), /invalid UUID/)
  })
})

test('a runtime is asked through its plugin', async (t) => {
  await introspecting(t, async (client) => {
    const type = RuntimePlugin.name
    const options = pack(RuntimeRequestSchema, { runtimePath: 'io.containerd.runc.v2' })
    const { plugin, extra } = await client.pluginInfo({ type, id: 'task', options })
    assert.equal(plugin?.id, 'task')
    assert.equal(Buffer.from(extra?.value ?? []).toString(), 'io.containerd.runc.v2')
    assert.equal((await client.pluginInfo({ type, id: 'task' })).extra, undefined)
    await rejectsWith('not_found', client.pluginInfo({ type, id: 'none' }), /\.none not found/)
    const snapshotter = { type: SnapshotPlugin.name, options }
    await rejectsWith('unimplemented', client.pluginInfo({ ...snapshotter, id: 'good' }))
    await rejectsWith('failed_precondition', client.pluginInfo({ ...snapshotter, id: 'failed' }))
  })
})

test('deprecated features that are in use are told with the time', async (t) => {
  await introspecting(t, async (client) => {
    const { deprecations } = await client.server({})
    const [warning, ...others] = deprecations
    assert.deepEqual(others, [])
    assert.equal(warning?.id, 'io.containerd.deprecation/cgroup-v1')
    assert.equal(warning?.message, 'old')
    assert.equal(warning?.lastOccurrence?.seconds, 1_700_000_000n)
    assert.equal(warning?.lastOccurrence?.nanos, 123_000_000)
  })
})
