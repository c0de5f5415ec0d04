import assert from 'node:assert/strict'
import { mkdtempDisposable, readFile, rename } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { create } from '@bufbuild/protobuf'

import { silent } from '#core/context.ts'
import type { Any } from '#core/any/any.ts'
import { Content } from '#gen/services/content_pb.ts'
import { Images } from '#gen/services/images_pb.ts'
import { TransferRequestSchema } from '#gen/services/transfer_pb.ts'
import { ImageStoreSchema } from '#gen/types/transfer/imagestore_pb.ts'
import { OCIRegistrySchema } from '#gen/types/transfer/registry_pb.ts'
import { notFound } from '#lib/errors/errors.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import { listenGrpc } from '#lib/grpc/server.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import type { RpcContext } from '#plugins/types.ts'
import { pack } from '#proxy/convert/pack.ts'
import { contextOf } from '#proxy/headers.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { auditor } from './observe.ts'
import { targetOf } from './record.ts'
import { fileSink } from './sink.ts'

/** Calls `body` with a connection, and gives the lines that were written. */
async function recorded(
  services: readonly RegisteredService<RpcContext>[],
  body: (connection: Awaited<ReturnType<typeof connectGrpc>>) => Promise<void>,
): Promise<Readonly<Record<string, unknown>>[]> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'audit-'))
  const lines: string[] = []
  {
    const { interceptor } = auditor(
      ({ method }) => method.name !== 'Get',
      (line) => lines.push(line),
    )
    await using _server = await listenGrpc<RpcContext>(
      { path: join(dir.path, 's') },
      {
        services,
        context: (call) => contextOf(call, silent),
        interceptors: [interceptor],
        peerOf: () => ({ uid: 1, gid: 2, pid: process.pid }),
      },
    )
    const metadata = { 'containerd-namespace': 'ns' }
    await using connection = await connectGrpc(join(dir.path, 's'), { metadata })
    await body(connection)
  }
  return lines.map((line): Readonly<Record<string, unknown>> => JSON.parse(line))
}

test('a line says who did what to what, and how it ended', async () => {
  const images = implement<RpcContext, typeof Images>(Images, {
    get: () => ({}),
    delete: () => {
      throw notFound('image "x"')
    },
  })
  const lines = await recorded([images], async (connection) => {
    await connection.client(Images).get({ name: 'x' })
    await rejectsWith('not_found', connection.client(Images).delete({ name: 'x' }))
  })
  const [line, ...others] = lines
  assert.deepEqual(others, [])
  const { time, ms, comm, exe, ...rest } = line ?? {}
  assert.deepEqual(rest, {
    method: '/containerd.services.images.v1.Images/Delete',
    namespace: 'ns',
    uid: 1,
    gid: 2,
    pid: process.pid,
    target: { name: 'x' },
    code: 'NotFound',
  })
  assert.equal(typeof ms, 'number')
  assert.ok(Date.parse(String(time)) > 0)
  assert.equal(exe, process.execPath)
  assert.ok(comm)
})

test('a stream has one line when it ends, about what its first message names', async () => {
  const content = implement<RpcContext, typeof Content>(Content, {
    async *write(requests) {
      for await (const { ref } of requests) if (ref !== '') yield {}
    },
  })
  const lines = await recorded([content], async (connection) => {
    async function* requests() {
      yield* await Promise.resolve([{ ref: 'first' }, { ref: 'second' }])
    }
    const client = connection.client(Content)
    for await (const _ of client.write(requests())) continue
  })
  assert.deepEqual(
    lines.map(({ target, code }) => [target, code]),
    [[{ ref: 'first' }, 'OK']],
  )
})

test('names inside a request are found, and long ones are cut', () => {
  assert.deepEqual(targetOf({ container: { id: 'c', image: 'i' } }), { id: 'c' })
  assert.deepEqual(targetOf({ containerId: 'c', execId: '', pid: 7 }), { container_id: 'c' })
  assert.deepEqual(targetOf({ id: 'lease', resource: { id: 'r', type: 'content' } }), {
    id: 'lease',
    type: 'content',
  })
  assert.equal(targetOf({ key: 'k'.repeat(1000) })['key']?.length, 256)
  assert.deepEqual(targetOf(undefined), {})
})

test('a transfer is about its two ends, and tells no secret of a registry', () => {
  const headers = { authorization: 'Bearer s3cret' }
  const registry = pack(OCIRegistrySchema, { reference: 'r.example/x:1', resolver: { headers } })
  const images = pack(ImageStoreSchema, { name: 'x', extraReferences: [{ name: 'y' }] })
  const about = (source: Any, destination: Any): unknown =>
    targetOf(
      create(TransferRequestSchema, { source: { ...source }, destination: { ...destination } }),
    )
  assert.deepEqual(about(registry, images), {
    from: 'OCIRegistry r.example/x:1',
    to: 'ImageStore x y',
  })
  assert.deepEqual(about({ ...images, value: Buffer.from([255]) }, { ...images, typeUrl: 'a.B' }), {
    from: 'ImageStore',
    to: 'B',
  })
})

test('a file that was moved away is begun anew, and no line is lost', async () => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'audit-'))
  const path = join(dir.path, 'log')
  {
    await using sink = await fileSink(path, silent)
    sink.write('1')
    await rename(path, `${path}.old`)
    sink.write('2')
    await sink.reopen()
    sink.write('3')
  }
  assert.equal(await readFile(`${path}.old`, 'utf8'), '1\n2\n')
  assert.equal(await readFile(path, 'utf8'), '3\n')
})
