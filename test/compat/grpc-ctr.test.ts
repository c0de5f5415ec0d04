import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import type { MessageInitShape } from '@bufbuild/protobuf'

import {
  Content,
  type WriteContentRequest,
  type WriteContentResponseSchema,
  WriteAction,
} from '#gen/services/content_pb.ts'
import { Introspection } from '#gen/services/introspection_pb.ts'
import { Version } from '#gen/services/version_pb.ts'
import { type GrpcServer, listenGrpc } from '#lib/grpc/server.ts'
import { type Call, type RegisteredService, type ServiceImpl, implement } from '#lib/rpc/rpc.ts'

const ctr = '/usr/bin/ctr'
const skip = existsSync(ctr) ? false : `${ctr} is not installed`

interface Run {
  readonly status: number
  readonly stdout: Buffer
  readonly stderr: string
}

interface Served extends AsyncDisposable {
  readonly server: GrpcServer
  /** Runs `ctr` against the server. */
  readonly run: (args: readonly string[], stdin?: Buffer) => Promise<Run>
}

async function serve(services: readonly RegisteredService<Call>[]): Promise<Served> {
  await using scope = new AsyncDisposableStack()
  const dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'ctr-')))
  const path = join(dir.path, 'socket')
  const options = { services, context: (call: Call) => call, stopMs: 1000 }
  const server = scope.use(await listenGrpc({ path }, options))
  const held = scope.move()
  return {
    server,
    run: async (args, stdin) => await execute(['--address', path, ...args], stdin),
    [Symbol.asyncDispose]: async () => await held.disposeAsync(),
  }
}

async function execute(args: readonly string[], stdin?: Buffer): Promise<Run> {
  const { promise, resolve } = Promise.withResolvers<Run>()
  const options = { encoding: 'buffer', timeout: 20_000, maxBuffer: 64 << 20 } as const
  const child = execFile(ctr, args, options, (err, stdout, stderr) => {
    const status = err ? Number(err.code ?? -1) : 0
    resolve({ status, stdout, stderr: stderr.toString() })
  })
  child.stdin?.end(stdin)
  return await promise
}

const size = 5_000_000
const blob = Buffer.alloc(size, 97)
const digest = `sha256:${createHash('sha256').update(blob).digest('hex')}`

const content: ServiceImpl<typeof Content, Call> = {
  info: () => ({ info: { digest, size: BigInt(size) } }),
  read: async function* ({ offset }) {
    for (let at = Number(offset); at < size; at += 1 << 20) {
      yield await Promise.resolve({ offset: BigInt(at), data: blob.subarray(at, at + (1 << 20)) })
    }
  },
  write: async function* (requests) {
    yield* receive(requests)
  },
}

async function* receive(
  requests: AsyncIterable<WriteContentRequest>,
): AsyncGenerator<MessageInitShape<typeof WriteContentResponseSchema>> {
  const hash = createHash('sha256')
  let offset = 0n
  for await (const { action, data } of requests) {
    hash.update(data)
    offset += BigInt(data.length)
    const committed = action === WriteAction.COMMIT ? hash.copy().digest('hex') : undefined
    if (committed) assert.equal(`sha256:${committed}`, digest)
    yield { action, offset, digest: committed ? digest : '' }
  }
}

suite('our gRPC server and the ctr written in Go', { skip, timeout: 60_000 }, () => {
  test('unary calls carry the namespace and are answered', async () => {
    const seen: unknown[] = []
    await using served = await serve([
      implement<Call, typeof Version>(Version, {
        version: (_, call) => {
          seen.push(call.metadata.get('containerd-namespace'))
          return { version: '9.9.9', revision: 'abc' }
        },
      }),
      implement<Call, typeof Introspection>(Introspection, { server: () => ({ uuid: 'u-u-i-d' }) }),
    ])
    const { status, stdout } = await served.run(['--namespace', 'k8s.io', 'version'])
    assert.equal(status, 0)
    assert.match(stdout.toString(), /Version: {2}9\.9\.9[\s\S]*UUID: u-u-i-d/)
    assert.deepEqual(seen, ['k8s.io'])
  })

  test('errors show their message', async () => {
    await using served = await serve([])
    const { status, stderr } = await served.run(['namespaces', 'list'])
    assert.equal(status, 1)
    assert.match(stderr, /^ctr: unknown service containerd\.services\.namespaces\.v1\.Namespaces/)
  })

  test('streams go both ways, and one left early leaves no call behind', async () => {
    await using served = await serve([implement<Call, typeof Content>(Content, content)])
    const got = await served.run(['content', 'get', digest])
    assert.equal(got.status, 0, got.stderr)
    assert.ok(got.stdout.equals(blob))
    const put = await served.run(['content', 'ingest', 'ref'], blob)
    assert.equal(put.status, 0, put.stderr)
    for (let n = 0; served.server.activeCalls > 0 && n < 500; n++) await sleep(10)
    assert.equal(served.server.activeCalls, 0)
  })
})
