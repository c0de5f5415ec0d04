import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { create, toBinary } from '@bufbuild/protobuf'

import { GetImageRequestSchema, GetImageResponseSchema, Images } from '#gen/services/images_pb.ts'
import { Version, VersionResponseSchema } from '#gen/services/version_pb.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import type { Connection } from '#lib/rpc/rpc.ts'

import { type Load, loadOf } from './h2load.ts'
import type { Prepared, Row, Subject } from './row.ts'

const version = 'Version, 64 in flight'
const image = 'Images.Get, 64 in flight'
const flight = 64
const frameHeaderBytes = 5

/** Unary calls per second on one connection, asked for by h2load, which is no part of wharf. */
export const rpcRate: Row = {
  name: 'rpc',
  figures: [
    { name: version, unit: 'calls/s', better: 'higher' },
    { name: image, unit: 'calls/s', better: 'higher' },
  ],
  setup: async (subject: Subject): Promise<Prepared> => {
    await using scope = new AsyncDisposableStack()
    const dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'bench-rpc-'))).path
    const calls = await callsOf(subject, dir)
    await loadOf(calls.version, 1)
    await loadOf(calls.image, 1)
    const seconds = subject.quick ? 1 : 3
    const owned = scope.move()
    return {
      measure: async () => ({
        [version]: await loadOf(calls.version, seconds),
        [image]: await loadOf(calls.image, seconds),
      }),
      [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
    }
  },
}

/** The loads, each of a call that was made once and succeeded: h2load sees no gRPC status. */
async function callsOf(subject: Subject, dir: string): Promise<{ version: Load; image: Load }> {
  const { address } = subject.daemon
  const metadata = { 'containerd-namespace': subject.namespace }
  await using connection = await connectGrpc(address, { metadata })
  const request = toBinary(
    GetImageRequestSchema,
    create(GetImageRequestSchema, { name: subject.image }),
  )
  const common = { address, headers: metadata, flight }
  return {
    version: {
      ...common,
      path: '/containerd.services.version.v1.Version/Version',
      body: await frameIn(dir, 'version', new Uint8Array()),
      answerBytes: frameHeaderBytes + (await versionBytes(connection)),
    },
    image: {
      ...common,
      path: '/containerd.services.images.v1.Images/Get',
      body: await frameIn(dir, 'image', request),
      answerBytes: frameHeaderBytes + (await imageBytes(connection, subject.image)),
    },
  }
}

async function versionBytes(connection: Connection): Promise<number> {
  const answer = await connection.client(Version).version({})
  return toBinary(VersionResponseSchema, answer).length
}

async function imageBytes(connection: Connection, name: string): Promise<number> {
  const answer = await connection.client(Images).get({ name })
  return toBinary(GetImageResponseSchema, answer).length
}

/** Writes a file with one gRPC message: no compression, length, bytes. */
async function frameIn(dir: string, name: string, message: Uint8Array): Promise<string> {
  const frame = Buffer.alloc(frameHeaderBytes + message.length)
  frame.writeUInt32BE(message.length, 1)
  frame.set(message, frameHeaderBytes)
  const file = join(dir, name)
  await writeFile(file, frame)
  return file
}
