import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtempDisposable, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { silent } from '#core/context.ts'
import { connect } from '#client/connect.ts'
import { Introspection } from '#gen/services/introspection_pb.ts'
import { codeOf } from '#lib/errors/errors.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import { definePlugin, pluginType } from '#plugin/plugin.ts'

import { builtins } from './builtins.ts'
import { configure } from './config/load.ts'
import { createServer } from './server.ts'

const grpc = 'io.containerd.server.v1.grpc'
const ttrpc = 'io.containerd.server.v1.ttrpc'
const gc = 'io.containerd.gc.v1.scheduler'

/** A configuration whose every path is below `dir`. */
const tableOf = (dir: string, sections: Record<string, unknown> = {}) => ({
  version: 4,
  root: join(dir, 'root'),
  state: join(dir, 'state'),
  plugins: {
    [grpc]: { address: join(dir, 'd.sock') },
    [ttrpc]: { address: join(dir, 'd.sock.ttrpc') },
    ...sections,
  },
})

interface Probe {
  rate: number
}
const ProbeType = pluginType<Probe>('test.v1')

/** A plugin that takes any rate but a negative one. */
const probe = (id: string, seen: string[]) =>
  definePlugin({
    type: ProbeType,
    id,
    config: { rate: 1, path: '' },
    live: ['rate'],
    init: ({ config }) => ({ rate: config.rate }),
    reload(instance, { rate }) {
      if (rate < 0) throw new RangeError('a negative rate')
      instance.rate = rate
      seen.push(`${id}=${rate}`)
    },
  })

void suite('a daemon in a program', { skip: process.getuid?.() !== 0 }, () => {
  void test('starts, serves, and stops, and says so', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'embedded-'))
    const said: string[] = []
    await using server = createServer(configure(tableOf(dir.path), builtins), { log: silent })
    server.events.on('booted', () => said.push('booted'))
    server.events.on('stopped', () => said.push('stopped'))
    await server.start()
    await using client = await connect(join(dir.path, 'd.sock'))
    assert.deepEqual(await client.namespaces.list(), [])
    await assert.rejects(server.start(), (err) => codeOf(err) === 'failed_precondition')
    await server.stop()
    await server.stop()
    assert.deepEqual(said, ['booted', 'stopped'])
  })

  void test('has directories that are not looser than containerd makes them', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'embedded-'))
    const { root, state } = tableOf(dir.path)
    await mkdir(root, { recursive: true })
    await chmod(root, 0o777)
    await using server = createServer(configure(tableOf(dir.path), builtins), { log: silent })
    await server.start()
    assert.equal((await stat(root)).mode & 0o777, 0o700)
    assert.equal((await stat(state)).mode & 0o777, 0o711)
  })

  void test('leaves a state directory as tight as it found it', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'embedded-'))
    const { state } = tableOf(dir.path)
    await mkdir(state, { mode: 0o700 })
    await using server = createServer(configure(tableOf(dir.path), builtins), { log: silent })
    await server.start()
    assert.equal((await stat(state)).mode & 0o777, 0o700)
  })

  void test('says which plugin a stop waits for', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'embedded-'))
    const stopping = Promise.withResolvers<void>()
    const release = Promise.withResolvers<void>()
    const slow = definePlugin({
      type: pluginType<AsyncDisposable>('test.v1'),
      id: 'slow',
      init: () => ({
        async [Symbol.asyncDispose]() {
          stopping.resolve()
          await release.promise
        },
      }),
    })
    const config = configure(tableOf(dir.path), [...builtins, slow])
    await using server = createServer(config, { log: silent })
    await server.start()
    assert.equal(server.stopping, undefined)
    const stopped = server.stop()
    await stopping.promise
    assert.equal(server.stopping, slow.uri)
    release.resolve()
    await stopped
  })

  void test('tells of settings that will go', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'embedded-'))
    const sections = {
      'io.containerd.tracing.processor.v1.otlp': { endpoint: 'http://localhost:4318' },
      'io.containerd.internal.v1.tracing': { service_name: '' },
    }
    const config = configure(tableOf(dir.path, sections), builtins)
    await using server = createServer(config, { log: silent })
    await server.start()
    await using connection = await connectGrpc(join(dir.path, 'd.sock'))
    const { deprecations } = await connection.client(Introspection).server({})
    const ids = deprecations.map(({ id }) => id).filter((id) => id.includes('tracing'))
    assert.deepEqual(ids, ['io.containerd.deprecation/tracing-processor-config'])
  })

  void test('two of them live in one process', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'embedded-'))
    const [a, b] = ['a', 'b'].map((name) =>
      createServer(configure(tableOf(join(dir.path, name)), builtins), { log: silent }),
    )
    await using _a = a
    await using _b = b
    await Promise.all([a?.start(), b?.start()])
    assert.ok(
      existsSync(join(dir.path, 'a', 'd.sock')) && existsSync(join(dir.path, 'b', 'd.sock')),
    )
  })

  void test('a start that fails leaves nothing running, and tells why', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'embedded-'))
    const table = { ...tableOf(dir.path), required_plugins: ['test.v1.none'] }
    await using server = createServer(configure(table, builtins), { log: silent })
    const reasons: unknown[] = []
    server.events.on('stopped', (reason) => reasons.push(reason))
    await assert.rejects(server.start(), /required plugin \[test\.v1\.none\] not included/)
    assert.equal(reasons.length, 1)
    assert.ok(!existsSync(join(dir.path, 'd.sock')))
  })

  void test('one that is stopped while it starts does not serve', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'embedded-'))
    await using server = createServer(configure(tableOf(dir.path), builtins), { log: silent })
    const starting = server.start()
    await Promise.all([starting, server.stop()])
    assert.ok(!existsSync(join(dir.path, 'd.sock')))
  })

  void test('takes a new configuration while it runs', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'embedded-'))
    await using server = createServer(configure(tableOf(dir.path), builtins), { log: silent })
    await server.start()
    const sections = { [gc]: { mutation_threshold: 5 } }
    const timeouts = { 'io.containerd.timeout.task.state': '7s' }
    const next = { ...tableOf(dir.path, sections), timeouts, oom_score: -1 }
    const { applied, restart } = await server.reload(configure(next, builtins))
    assert.deepEqual(applied, [
      'timeouts."io.containerd.timeout.task.state"',
      `plugins."${gc}".mutation_threshold`,
    ])
    assert.deepEqual(restart, ['oom_score'])
  })

  void test('one that a plugin refuses changes nothing, also not in the others', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'embedded-'))
    const seen: string[] = []
    const plugins = [...builtins, probe('a', seen), probe('b', seen)]
    const config = (a: number, b: number, more = {}) =>
      configure(
        { ...tableOf(dir.path, { 'test.v1.a': { rate: a }, 'test.v1.b': { rate: b } }), ...more },
        plugins,
      )
    await using server = createServer(config(1, 1), { log: silent })
    await server.start()
    const bad = config(2, -1, { timeouts: { a: '1s' } })
    await assert.rejects(server.reload(bad), /a negative rate/)
    assert.deepEqual(seen, ['a=2', 'a=1'])
    assert.equal(server.config.timeouts.get('a'), undefined)
    await server.reload(config(1, 3))
    assert.deepEqual(seen, ['a=2', 'a=1', 'b=3'])
  })
})
