import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'

import type { Context } from '#core/context.ts'
import { Controller } from '#gen/services/sandbox_pb.ts'
import { Diff } from '#gen/services/diff_pb.ts'
import { notFound } from '#lib/errors/errors.ts'
import { ReconnectingConnection } from '#lib/grpc/reconnecting.ts'
import { listenGrpc } from '#lib/grpc/server.ts'
import { implement } from '#lib/rpc/rpc.ts'
import { type PluginSet, start } from '#plugin/graph.ts'
import { definePlugin, type Plugin } from '#plugin/plugin.ts'
import { defaultSettings } from '#plugin/settings.ts'
import {
  ContentPlugin,
  DiffPlugin,
  MetadataPlugin,
  type RpcContext,
  SandboxControllerPlugin,
  SnapshotPlugin,
} from '#plugins/types.ts'
import { RemoteContentStore } from '#proxy/content.ts'
import { contextOf } from '#proxy/headers.ts'
import { newContext, recordingLogger } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { type ProxyConfig, withProxies } from './plugins.ts'

const proxy = (name: string, type: string, address = '/nowhere'): ProxyConfig => ({
  name,
  type,
  address,
  platform: '',
  exports: {},
  capabilities: [],
})

async function started(
  ctx: Context,
  plugins: readonly Plugin[],
  body: (set: PluginSet) => Promise<void>,
): Promise<void> {
  const daemon = {
    root: '/nowhere',
    state: '/nowhere',
    address: '',
    ttrpcAddress: '',
    settings: defaultSettings,
    serving: Promise.resolve(),
  }
  await using set = await start(ctx, plugins, { daemon })
  await body(set)
}

/** The services of a sandbox controller and a differ, and what they were asked. */
async function remote(t: TestContext, asked: string[]) {
  const dir = await mkdtempDisposable(join(tmpdir(), 'proxied-'))
  const path = join(dir.path, 's.sock')
  const sandboxes = implement<RpcContext, typeof Controller>(Controller, {
    create({ sandboxId, sandboxer, sandbox, annotations }, { namespace, lease }) {
      const { name } = sandbox?.runtime ?? { name: '' }
      asked.push(`${namespace} ${lease} ${sandboxer} ${sandboxId} ${name} ${annotations['a']}`)
      return { sandboxId }
    },
    start: ({ sandboxId }) => ({ sandboxId, pid: 7, address: 'there', version: 3 }),
    status: ({ sandboxId, verbose }) => ({ sandboxId, state: verbose ? 'LOUD' : 'QUIET' }),
    platform: () => ({ platform: { os: 'linux', architecture: 'amd64' } }),
    wait: () => ({ exitStatus: 3 }),
    stop({ timeoutSecs }) {
      asked.push(`stop ${timeoutSecs}`)
      return {}
    },
    shutdown() {
      throw notFound('sandbox "gone"')
    },
    metrics: () => ({ metrics: { data: { typeUrl: 'm' } } }),
    update({ fields, sandboxer }) {
      asked.push(`update ${fields.join()} ${sandboxer}`)
      return {}
    },
  })
  const differ = implement<RpcContext, typeof Diff>(Diff, {
    apply: ({ diff }) => ({ applied: { digest: `applied ${diff?.digest}` } }),
  })
  const { log } = newContext(t)
  const server = await listenGrpc<RpcContext>(
    { path },
    { services: [sandboxes, differ], context: (call) => contextOf(call, log), stopMs: 100 },
  )
  return {
    path,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await dir[Symbol.asyncDispose]()
    },
  }
}

test('proxies are made by short and full types, and an unknown one is said', async (t) => {
  const lines: string[] = []
  const ctx = newContext(t)
  const proxies = [
    proxy('a', 'snapshot'),
    proxy('b', 'io.containerd.content.v1'),
    proxy('c', 'diff'),
    proxy('d', 'io.containerd.sandbox.controller.v1'),
    proxy('e', 'toString'),
    proxy('f', ''),
  ]
  const plugins = withProxies([], proxies, recordingLogger(lines))
  assert.deepEqual(lines, [
    'warn unknown proxy plugin type {"plugin":"e","type":"toString"}',
    'warn unknown proxy plugin type {"plugin":"f","type":""}',
  ])
  await started(ctx, plugins, async (set) => {
    const types = [SnapshotPlugin, ContentPlugin, DiffPlugin, SandboxControllerPlugin]
    const ids = types.flatMap((type) => [...set.all<unknown>(type).keys()])
    assert.deepEqual(ids, ['a', 'b', 'c', 'd'])
    await rejectsWith('unavailable', set.all(SnapshotPlugin).get('a')?.stat(ctx, 'x') ?? none())
  })
})

const none = (): Promise<never> => Promise.reject(new Error('it did not start'))

test('a proxy tells its address, and what it was configured to tell', async (t) => {
  const config = {
    ...proxy('a', 'snapshot', '/run/a.sock'),
    platform: 'linux/arm64',
    exports: { root: '/r', address: 'wrong' },
    capabilities: ['quick'],
  }
  const plugins = withProxies([], [config, proxy('b', 'snapshot', '')], newContext(t).log)
  await started(newContext(t), plugins, async (set) => {
    assert.deepEqual(set.statuses[0]?.meta, {
      platforms: ['linux/arm64'],
      capabilities: ['quick'],
      exports: { root: '/r', address: '/run/a.sock' },
    })
    assert.match(String(set.statuses[1]?.error), /proxy plugin "b" has no address/)
    await Promise.resolve()
  })
})

test('a platform of a proxy is completed, and one that is none is said and left out', async (t) => {
  const lines: string[] = []
  const ctx = { ...newContext(t), log: recordingLogger(lines) }
  const platforms = ['', 'linux', 'aarch64', 'Linux/x86_64', 'linux/arm/v7', 'a/b/c/d', 'a b']
  const proxies = platforms.map((platform, at) => ({ ...proxy(`p${at}`, 'diff'), platform }))
  await started(ctx, withProxies([], proxies, ctx.log), async (set) => {
    const host = process.arch === 'x64' ? 'amd64' : process.arch
    assert.deepEqual(
      set.statuses.map(({ meta }) => meta.platforms.join()),
      [`linux/${host}`, `linux/${host}`, 'linux/arm64', 'linux/amd64', 'linux/arm/v7', '', ''],
    )
    const warnings = lines.filter((line) => line.startsWith('warn'))
    assert.equal(warnings.length, 2)
    assert.match(warnings.join(), /skipping proxy platform with bad platform.*a\/b\/c\/d/)
    await Promise.resolve()
  })
})

test('a proxy takes the place of a plugin of its type and name; of another name it conflicts', async (t) => {
  const ctx = newContext(t)
  const local = definePlugin({
    type: ContentPlugin,
    id: 'content',
    init: () => new RemoteContentStore(new ReconnectingConnection('/nowhere')),
  })
  const metadata = definePlugin({
    type: MetadataPlugin,
    id: 'bolt',
    requires: { content: ContentPlugin },
    init: none,
  })
  const replaced = withProxies([metadata, local], [proxy('content', 'content')], ctx.log)
  assert.deepEqual([replaced.length, replaced.includes(local)], [2, false])
  const both = withProxies([metadata, local], [proxy('far', 'content')], ctx.log)
  await started(ctx, both, async (set) => {
    const failed = set.statuses.find(({ plugin }) => plugin.id === 'bolt')
    assert.match(
      String(failed?.error),
      /multiple plugins registered for io\.containerd\.content\.v1: .*v1\.content, .*v1\.far/,
    )
    await Promise.resolve()
  })
})

test('a sandbox controller and a differ are called over one connection', async (t) => {
  const asked: string[] = []
  await using far = await remote(t, asked)
  const ctx: Context = { ...newContext(t), namespace: 'red', lease: 'mine' }
  const proxies = [proxy('pods', 'sandbox', far.path), proxy('far', 'diff', far.path)]
  await started(ctx, withProxies([], proxies, ctx.log), async (set) => {
    const pods = set.all(SandboxControllerPlugin).get('pods')
    const differ = set.all(DiffPlugin).get('far')
    assert.ok(pods && differ)
    const at = new Date(0)
    const sandbox = {
      id: 's',
      runtime: { name: 'r' },
      sandboxer: 'pods',
      labels: {},
      extensions: {},
      createdAt: at,
      updatedAt: at,
    }
    await pods.create(ctx, sandbox, { annotations: { a: 'b' } })
    const { pid, address, version } = await pods.start(ctx, 's')
    assert.deepEqual([pid, address, version], [7, 'there', 3])
    assert.equal((await pods.status(ctx, 's', { verbose: true })).state, 'LOUD')
    assert.equal((await pods.status(ctx, 's')).state, 'QUIET')
    assert.equal((await pods.platform(ctx, 's')).architecture, 'amd64')
    assert.equal((await pods.wait(ctx, 's')).status, 3)
    assert.equal((await pods.metrics(ctx, 's'))?.typeUrl, 'm')
    await pods.stop(ctx, 's', { timeoutMs: 2500 })
    await pods.update(ctx, sandbox, ['labels'])
    await rejectsWith('not_found', pods.shutdown(ctx, 's'), 'sandbox "gone": not found')
    const layer = { mediaType: 'x', digest: 'sha256:1', size: 1 }
    assert.equal((await differ.apply(ctx, layer, [])).digest, 'applied sha256:1')
    assert.deepEqual(asked, ['red undefined pods s r b', 'stop 2', 'update labels pods'])
  })
})
