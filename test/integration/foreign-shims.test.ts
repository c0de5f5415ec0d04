import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { type DescService, create, fromBinary, toBinary } from '@bufbuild/protobuf'

import { jsonTypes } from '#core/any/any.ts'
import { BootstrapParamsSchema, BootstrapResultSchema } from '#gen/shim/bootstrap_pb.ts'
import { Task as TaskV2 } from '#gen/shim/task-v2_pb.ts'
import { Task as TaskV3 } from '#gen/shim/task-v3_pb.ts'
import { OptionsSchema } from '#gen/types/runc-options_pb.ts'
import { describe } from '#lib/errors/errors.ts'
import { listenGrpc } from '#lib/grpc/server.ts'
import { programPath } from '#lib/release/release.ts'
import type { Call, Connection, RegisteredService } from '#lib/rpc/rpc.ts'
import { connectTtrpc } from '#lib/ttrpc/client.ts'
import { listenTtrpc } from '#lib/ttrpc/server.ts'
import { containerd1, containerd2 } from '#testing/containerd.ts'
import { root } from '#testing/root.ts'

import { type Bench, openBench, processesWith, until } from './runtime-bench.ts'

/*
 * Shims of every kind there was and is. Their programs are scripts that start the built-in host and
 * answer with where a relay in this test is, which speaks as such a shim would.
 */

const script = (dir: string, version: string): string => `#!/bin/sh
[ "$1" = -v ] && { echo "  Version:  ${version}"; exit 0; }
export WHARF_SHIM_SOCKET_DIR=${dir}/s WHARF_RUNC_ROOT=${dir}/runc WHARF_SHIM_IDLE_MS=500
for last; do :; done
shim="${process.execPath} ${programPath('containerd-shim-wharf-v1.mjs')}"
echo "$last" >> ${dir}/calls
[ "$last" = start ] || exec $shim "$@"
cat > ${dir}/stdin
env -u MAX_SHIM_VERSION $shim "$@" < /dev/null > ${dir}/host || exit 1
exec cat ${dir}/reply
`

interface Foreign extends AsyncDisposable {
  readonly bench: Bench
  readonly runtime: string
  /** Where relays listen. */
  readonly socket: string
  /** What the program answers to `start`. */
  readonly answer: (reply: string | Uint8Array) => void
  /** A service that passes every call on to the host. */
  readonly relay: (service: DescService) => RegisteredService<Call>
}

async function foreign(version = '2.1.0'): Promise<Foreign> {
  await using scope = new AsyncDisposableStack()
  const bench = scope.use(await openBench({ builtinShim: false, runtime: '' }))
  const runtime = join(bench.dir, 'containerd-shim-foreign-v1')
  writeFileSync(runtime, script(bench.dir, version), { mode: 0o755 })
  let host: Promise<Connection> | undefined
  scope.defer(async () => await (await host)?.[Symbol.asyncDispose]())
  const connect = async (): Promise<Connection> => {
    host ??= connectTtrpc(readFileSync(join(bench.dir, 'host'), 'utf8'))
    return await host
  }
  const owned = scope.move()
  return {
    bench,
    runtime,
    socket: join(bench.dir, 'relay'),
    answer: (reply) => writeFileSync(join(bench.dir, 'reply'), reply),
    relay: (service) => ({
      service,
      impl: Object.fromEntries(
        service.methods.map(({ localName }) => [
          localName,
          async (request: object, { signal }: Call): Promise<unknown> => {
            const client: Record<string, unknown> = (await connect()).client(service)
            const method = client[localName]
            assert.ok(typeof method === 'function')
            return await method(request, { signal })
          },
        ]),
      ),
    }),
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  }
}

const context = (call: Call): Call => call

/** Runs a container through its life, and looks whether all of it was there. */
async function live({ bench, runtime }: Foreign): Promise<void> {
  const { ctx, manager } = bench
  const task = await bench.create('a', ['sleep', '1000'], { runtime })
  assert.ok(task.pid > 0)
  const waiting = [task.wait(ctx), task.wait(ctx)]
  await task.start(ctx)
  assert.equal((await task.state(ctx)).status, 'running')
  await task.kill(ctx, { signal: 9 })
  for (const exit of await Promise.all(waiting)) assert.equal(exit.status, 137)
  assert.equal((await manager.delete(ctx, 'a')).status, 137)
  assert.ok(!existsSync(bench.bundle('a')))
}

const bootOf = (bench: Bench): unknown =>
  JSON.parse(readFileSync(join(bench.bundle('a'), 'bootstrap.json'), 'utf8'))

suite('shims of others', () => {
  const check = (title: string, body: (shim: Foreign) => Promise<void>, version?: string): void => {
    void test(title, { timeout: 60_000 }, async (t) => {
      if (!root(t)) return
      await using shim = await foreign(version)
      await body(shim)
    })
  }

  check('that speak gRPC are driven over gRPC', async (shim) => {
    const { bench, relay, answer, socket: path } = shim
    await using _server = await listenGrpc({ path }, { services: [relay(TaskV3)], context })
    answer(JSON.stringify({ version: 3, address: `unix://${path}`, protocol: 'grpc' }))
    await live(shim)
    assert.deepEqual(readdirSync(join(bench.dir, 'state', bench.namespace)), [])
  })

  check('that promise version 3 and have version 2 are spoken to in version 2', async (shim) => {
    const { bench, relay, answer, socket: path } = shim
    await using _server = await listenTtrpc({ path }, { services: [relay(TaskV2)], context })
    answer(JSON.stringify({ version: 3, address: `unix://${path}`, protocol: 'ttrpc' }))
    await live(shim)
    assert.ok(bench.logs.some((line) => /does not speak its version.*downgrading/.test(line)))
  })

  check('of old answer with an address, and mean version 2', async (shim) => {
    const { bench, relay, answer, runtime, socket: path } = shim
    await using _server = await listenTtrpc({ path }, { services: [relay(TaskV2)], context })
    answer(`unix://${path}\n`)
    await live(shim)
    await bench.create('a', ['true'], { runtime })
    assert.deepEqual(bootOf(bench), { version: 2, address: `unix://${path}`, protocol: 'ttrpc' })
    await bench.manager.delete(bench.ctx, 'a')
  })

  check(
    'of 2.3 are told everything on stdin, and answer in protobuf',
    async (shim) => {
      const { bench, relay, answer, socket: path } = shim
      await using _server = await listenTtrpc({ path }, { services: [relay(TaskV3)], context })
      const result = { version: 3, address: `unix://${path}`, protocol: 'ttrpc' }
      answer(toBinary(BootstrapResultSchema, create(BootstrapResultSchema, result)))
      await live(shim)
      const stdin = fromBinary(BootstrapParamsSchema, readFileSync(join(bench.dir, 'stdin')))
      assert.deepEqual(
        [stdin.instanceId, stdin.namespace, stdin.socketDir],
        ['a', bench.namespace, join(bench.dir, 's')],
      )
      assert.equal(stdin.extensions[0]?.value?.typeUrl, OptionsSchema.typeName)
    },
    '2.3.0',
  )

  const refused = {
    'vsock://2:1024': /shims with address "vsock:\/\/2:1024" are not supported: not implemented/,
    'hvsock:///vm.sock:1024': /shims with address "hvsock:\S+" are not supported: not impl/,
    'version 4': /unsupported shim version \(4\): not implemented/,
    'another protocol': /shims with protocol "carrier" are not supported: not implemented/,
  }
  for (const [what, message] of Object.entries(refused)) {
    check(`with ${what} are refused, and nothing stays`, async (shim) => {
      const { bench, answer, runtime, socket } = shim
      const address = what.includes('://') ? what : `unix://${socket}`
      const protocol = what === 'another protocol' ? 'carrier' : 'ttrpc'
      answer(JSON.stringify({ version: what === 'version 4' ? 4 : 3, address, protocol }))
      await assert.rejects(bench.create('a', ['true'], { runtime }), (err) => {
        assert.match(describe(err), message)
        return true
      })
      assert.ok(!existsSync(bench.bundle('a')))
    })
  }
})

suite("Go's shims", () => {
  for (const go of [containerd1(), containerd2()]) {
    if (!go) continue
    void test(`of ${go.version} serve a group from one process`, { timeout: 60_000 }, async (t) => {
      if (!root(t)) return
      await using bench = await openBench({ builtinShim: false, runtime: go.shim })
      const { ctx, manager } = bench
      const grouped = async (id: string) => {
        const { spec } = await specWith(bench, id)
        return await bench.create(id, ['sleep', '1000'], { spec })
      }
      const [a, b] = [await grouped('a'), await grouped('b')]
      for (const task of [a, b]) await task.start(ctx)
      assert.equal(processesWith('containerd-shim-runc-v2', bench.namespace).length, 1)
      await a.kill(ctx, { signal: 9 })
      await a.wait(ctx)
      await manager.delete(ctx, 'a')
      assert.equal((await b.state(ctx)).status, 'running')
      await b.kill(ctx, { signal: 9 })
      await b.wait(ctx)
      await manager.delete(ctx, 'b')
      await until(
        'the shim has ended',
        () => processesWith('containerd-shim-runc-v2', bench.namespace).length === 0,
      )
    })
  }
})

/** The spec that the bench would make, in the group `a`. */
async function specWith(bench: Bench, id: string) {
  const task = await bench.create(`${id}-like`, ['sleep', '1000'])
  const path = join(bench.bundle(`${id}-like`), 'config.json')
  const spec: Record<string, unknown> = JSON.parse(readFileSync(path, 'utf8'))
  await bench.manager.delete(bench.ctx, task.id)
  const annotations = { 'io.containerd.runc.v2.group': 'a' }
  const text = JSON.stringify({ ...spec, annotations }).replaceAll(`${id}-like`, id)
  return { spec: { typeUrl: jsonTypes.spec, value: Buffer.from(text) } }
}
