import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import type { MessageInitShape } from '@bufbuild/protobuf'

import {
  Content,
  WriteAction,
  type WriteContentRequestSchema as Request,
} from '#gen/services/content_pb.ts'
import { Events } from '#gen/services/events_pb.ts'
import { Namespaces } from '#gen/services/namespaces_pb.ts'
import { Version } from '#gen/services/version_pb.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import { connectTtrpc } from '#lib/ttrpc/client.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { Stranger, text } from '#lib/rpc/suite/service.ts'

const containerd = '/usr/bin/containerd'
const skip = skipReason()

function skipReason(): string | false {
  if (process.getuid?.() !== 0) return 'containerd needs root'
  return existsSync(containerd) ? false : `${containerd} is not installed`
}

const config = (dir: string): string => `
version = 2
root = "${dir}/root"
state = "${dir}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "${dir}/grpc.sock"
[ttrpc]
  address = "${dir}/ttrpc.sock"
`

interface Running extends AsyncDisposable {
  readonly grpc: Connection
  readonly dir: string
}

/** containerd as it is installed, on directories of its own. */
async function startContainerd(): Promise<Running> {
  await using scope = new AsyncDisposableStack()
  const dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'containerd-')))
  const file = join(dir.path, 'config.toml')
  await writeFile(file, config(dir.path))
  const child = spawn(containerd, ['--config', file], { stdio: 'ignore' })
  scope.defer(async () => await stop(child))
  const grpc = scope.use(await connectWhenUp(join(dir.path, 'grpc.sock'), child))
  const held = scope.move()
  return { grpc, dir: dir.path, [Symbol.asyncDispose]: async () => await held.disposeAsync() }
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  await exited
}

async function connectWhenUp(path: string, child: ChildProcess): Promise<Connection> {
  const options = { metadata: { 'containerd-namespace': 'default' } }
  for (let n = 0; ; n++) {
    try {
      return await connectGrpc(`unix://${path}`, options)
    } catch (err) {
      if (n > 500 || child.exitCode !== null) throw err
      await sleep(20)
    }
  }
}

suite('our clients of a containerd written in Go', { skip, timeout: 60_000 }, () => {
  test('gRPC calls of every kind, and their errors', async () => {
    await using daemon = await startContainerd()
    const { grpc } = daemon
    const { version, revision } = await grpc.client(Version).version({})
    assert.match(version, /\d/)
    assert.ok(revision !== undefined)
    const namespaces = grpc.client(Namespaces)
    await namespaces.create({ namespace: { name: 'wharf', labels: { a: 'b' } } })
    assert.deepEqual(
      (await namespaces.list({})).namespaces.map(({ name, labels }) => [name, labels['a']]),
      [['wharf', 'b']],
    )
    await assert.rejects(namespaces.delete({ name: 'nobody' }), {
      code: 'not_found',
      message: 'namespace "nobody": not found',
    })
    await assert.rejects(grpc.client(Stranger).unary(text('a')), {
      code: 'unimplemented',
      message: 'unknown service wharf.test.v1.Stranger',
    })
  })

  test('content is written and read in streams', async () => {
    await using daemon = await startContainerd()
    const content = daemon.grpc.client(Content)
    const size = 3 << 20
    const written = await Array.fromAsync(content.write(upload(size)))
    const digest = written.at(-1)?.digest ?? ''
    assert.match(digest, /^sha256:/)
    const read = await Array.fromAsync(content.read({ digest }), ({ data }) => Buffer.from(data))
    const bytes = Buffer.concat(read)
    assert.equal(bytes.length, size)
    assert.ok(bytes.every((byte) => byte === 7))
    const infos = await Array.fromAsync(content.list({}), ({ info }) => info.length)
    assert.deepEqual(infos, [1])
  })

  test('events arrive until the reader leaves', async () => {
    await using daemon = await startContainerd()
    const { grpc } = daemon
    const events = grpc.client(Events).subscribe({})
    const namespaces = grpc.client(Namespaces)
    const creating = (async (): Promise<void> => {
      for (let n = 0; n < 50; n++) {
        await namespaces.create({ namespace: { name: `wharf-${n}` } })
        await sleep(20)
      }
    })()
    for await (const { topic } of events) {
      assert.equal(topic, '/namespaces/create')
      break
    }
    await creating
    // Who notices first says it: this client with a code, or the daemon with these words.
    const late = Array.fromAsync(grpc.client(Events).subscribe({}, { timeoutMs: 50 }))
    await assert.rejects(late, /deadline exceeded/)
  })

  test('ttrpc errors carry their code', async () => {
    await using daemon = await startContainerd()
    await using ttrpc = await connectTtrpc(join(daemon.dir, 'ttrpc.sock'))
    await assert.rejects(ttrpc.client(Stranger).unary(text('a')), { code: 'unimplemented' })
  })

  test('a daemon that goes away is noticed', async () => {
    await using daemon = await startContainerd()
    const { grpc } = daemon
    const events = Array.fromAsync(grpc.client(Events).subscribe({}))
    const rejected = assert.rejects(events, { code: 'unavailable' })
    await grpc.client(Version).version({})
    await daemon[Symbol.asyncDispose]()
    await rejected
    assert.ok(grpc.closed.aborted)
  })
})

async function* upload(size: number): AsyncGenerator<MessageInitShape<typeof Request>> {
  const half = Buffer.alloc(size / 2, 7)
  const write = { action: WriteAction.WRITE, ref: 'wharf' }
  yield { ...write, offset: 0n, data: half }
  yield { ...write, offset: BigInt(half.length), data: half }
  // Without the label the collector would take it.
  const labels = { 'containerd.io/gc.root': 'now' }
  const commit = { ...write, action: WriteAction.COMMIT, offset: BigInt(size), labels }
  yield await Promise.resolve(commit)
}
