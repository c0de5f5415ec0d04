import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Context } from '#core/context.ts'
import type { Credentials } from '#core/remotes/remotes.ts'
import type { Progress, Transferrer } from '#core/transfer/transfer.ts'
import { StreamInitSchema } from '#gen/services/streaming_pb.ts'
import { Transfer } from '#gen/services/transfer_pb.ts'
import { ImageStoreSchema } from '#gen/types/transfer/imagestore_pb.ts'
import {
  ImageExportStreamSchema,
  ImageImportStreamSchema,
} from '#gen/types/transfer/importexport_pb.ts'
import { HTTPDebug, OCIRegistrySchema } from '#gen/types/transfer/registry_pb.ts'
import { ReadStreamSchema } from '#gen/types/transfer/streaming_pb.ts'
import { invalidArgument, notFound } from '#lib/errors/errors.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { OpenStreams } from '#plugins/streaming/manager.ts'
import { streamingApi } from '#plugins/services/streaming/grpc.ts'
import { callOptions } from '#proxy/call.ts'
import { pack } from '#proxy/convert/pack.ts'
import { receiveBytes, sendBytes } from '#proxy/transfer/byte-stream.ts'
import { RemoteStream } from '#proxy/transfer/remote-stream.ts'
import { RemoteTransfers } from '#proxy/transfer/transfers.ts'
import { newContext } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { transferApi } from './grpc.ts'

interface Given {
  readonly ctx: Context
  readonly connection: Connection
  readonly transfers: RemoteTransfers
  readonly streams: OpenStreams
}

const image = {
  name: 'x',
  labels: {},
  target: { mediaType: 'm', digest: 'd', size: 1 },
  createdAt: new Date(0),
  updatedAt: new Date(0),
}

/** A transferrer of which a test makes only what it asks for. */
const standIn = (own: Partial<Transferrer>): Transferrer => {
  const unexpected = (): never => assert.fail('this was not asked for')
  return {
    pull: unexpected,
    push: unexpected,
    import: unexpected,
    export: unexpected,
    tag: unexpected,
    ...own,
  }
}

function check(
  title: string,
  own: () => Partial<Transferrer>,
  body: (given: Given) => Promise<void>,
): void {
  void test(title, { timeout: 60_000 }, async (t: TestContext) => {
    const ctx = newContext(t)
    const streams = new OpenStreams()
    const apis = [streamingApi(streams), transferApi(standIn(own()), streams)]
    await using served = await serve(ctx, apis)
    const { connection } = served
    await body({ ctx, connection, transfers: new RemoteTransfers(connection), streams })
  })
}

const collect = async (bytes: AsyncIterable<Uint8Array>): Promise<Buffer> =>
  Buffer.concat(await Array.fromAsync(bytes))

/** More than any window. */
const big = Buffer.alloc(3_000_001, 'abcdefg')

async function* inPieces(bytes: Buffer, size: number) {
  for (let at = 0; at < bytes.length; at += size) {
    yield await Promise.resolve(bytes.subarray(at, at + size))
  }
}

let seen: unknown[] = []

check(
  'what goes into the image store arrives as it was meant',
  () => ({
    pull: (_ctx, { reference }, into) => {
      seen = [reference, into]
      return Promise.resolve(image)
    },
  }),
  async ({ ctx, transfers }) => {
    const platform = { os: 'linux', architecture: 'arm', variant: 'v7' }
    const into = {
      name: 'x',
      labels: { a: 'b' },
      platforms: [platform],
      allMetadata: true,
      manifestLimit: 2,
      extraReferences: [
        {
          name: 'y',
          isPrefix: true,
          allowOverwrite: true,
          addDigest: true,
          skipNamedDigest: true,
        },
      ],
      unpacks: [{ platform, snapshotter: 's' }, {}],
    }
    await transfers.pull(ctx, { reference: 'r.example/x:1' }, into)
    assert.deepEqual(seen, ['r.example/x:1', into])
  },
)

check(
  'a push, a tag and an import reach the transferrer, each with its ends',
  () => ({
    push: (_ctx, from, { reference }) => {
      seen.push(['push', from, reference])
      return Promise.resolve()
    },
    tag: (_ctx, name, into) => {
      seen.push(['tag', name, into.name])
      return Promise.resolve(image)
    },
    import: async (_ctx, { bytes, forceCompress }, into) => {
      seen.push(['import', forceCompress, into.name, (await collect(bytes)).equals(big)])
      return []
    },
  }),
  async ({ ctx, transfers }) => {
    seen = []
    await transfers.push(ctx, { name: 'x' }, { reference: 'r.example/x:1' })
    await transfers.tag(ctx, 'x', { name: 'y' })
    const archive = { bytes: inPieces(big, 50_000), forceCompress: true }
    await transfers.import(ctx, archive, { name: '' })
    assert.deepEqual(seen, [
      ['push', { name: 'x', platforms: [] }, 'r.example/x:1'],
      ['tag', 'x', 'y'],
      ['import', true, '', true],
    ])
  },
)

check(
  'an archive arrives whole, with what was asked to be in it',
  () => ({
    export: (_ctx, images, options) => {
      seen = [images, options]
      return inPieces(big, 100_000)
    },
  }),
  async ({ ctx, transfers }) => {
    const platforms = [{ os: 'linux', architecture: 'arm64', variant: 'v8' }]
    const images = ['x', 'y'].map((name) => ({ name, platforms }))
    const options = {
      allPlatforms: true,
      skipCompatibilityManifest: true,
      skipNonDistributable: true,
    }
    assert.ok((await collect(transfers.export(ctx, images, options))).equals(big))
    assert.deepEqual(seen, [images, options])
  },
)

check(
  'an export that fails half way throws behind the bytes',
  () => ({
    async *export() {
      yield await Promise.resolve(big)
      throw notFound('blob "b"')
    },
  }),
  async ({ ctx, transfers }) => {
    const bytes = transfers.export(ctx, [{ name: 'x' }])
    await rejectsWith('not_found', collect(bytes), 'blob "b": not found')
  },
)

check(
  'an import that is refused is told in words, also while bytes are sent',
  () => ({
    import: async (_ctx, { bytes }) => {
      for await (const _ of bytes) throw invalidArgument('unrecognized image format')
      return []
    },
  }),
  async ({ ctx, transfers }) => {
    const sending = transfers.import(ctx, { bytes: inPieces(big, 10_000) }, { name: '' })
    await rejectsWith('invalid_argument', sending, /unrecognized image format/)
  },
)

check(
  'an archive that cannot be read ends the import with the reason',
  () => ({
    import: async (_ctx, { bytes }) => {
      await collect(bytes)
      return []
    },
  }),
  async ({ ctx, transfers }) => {
    async function* broken() {
      yield await Promise.resolve(Buffer.from('some'))
      throw new Error('the disk is on fire')
    }
    const sending = transfers.import(ctx, { bytes: broken() }, { name: '' })
    await assert.rejects(sending, /the disk is on fire/)
  },
)

const layer = (event: string, progress: number): Progress => ({
  event,
  name: 'layer-1',
  parents: ['x'],
  progress,
  total: 5000,
})

check(
  'changes and the last count are told, not every count',
  () => ({
    pull: async (_ctx, _from, _into, { onProgress } = {}) => {
      onProgress?.({ event: 'Resolving' })
      for (let i = 0; i <= 5000; i++) {
        onProgress?.(layer('downloading', i))
        if (i % 500 === 0) await sleep(1)
      }
      onProgress?.({ ...layer('complete', 5000), descriptor: image.target })
      onProgress?.({ event: 'Completed' })
      return image
    },
  }),
  async ({ ctx, transfers }) => {
    const told: Progress[] = []
    const onProgress = (progress: Progress): void => void told.push(progress)
    await transfers.pull(ctx, { reference: 'r.example/x' }, { name: 'x' }, { onProgress })
    assert.ok(told.length < 1000, `${told.length} messages`)
    const counts = told.filter(({ event }) => event === 'downloading')
    assert.deepEqual(
      counts.map(({ progress = 0 }) => progress),
      counts.map(({ progress = 0 }) => progress).toSorted((a, b) => a - b),
    )
    assert.equal(counts.at(-1)?.progress, 5000)
    assert.deepEqual(told.slice(-2), [
      { ...layer('complete', 5000), descriptor: image.target },
      { event: 'Completed', progress: 0, total: 0 },
    ])
  },
)

check(
  'a client that reads no progress does not hold up the transfer',
  () => ({
    pull: async (_ctx, _from, _into, { onProgress } = {}) => {
      const parents = ['p'.repeat(100_000)]
      for (let i = 0; i < 500; i++) onProgress?.({ event: `${i}`, name: `${i % 2}`, parents })
      await sleep(1)
      seen = ['done']
      return image
    },
  }),
  async ({ ctx, connection }) => {
    await using stream = await RemoteStream.open(ctx, connection, 'unread')
    const request = {
      source: { ...pack(OCIRegistrySchema, { reference: 'r.example/x' }) },
      destination: { ...pack(ImageStoreSchema, { name: 'x' }) },
      options: { progressStream: stream.id },
    }
    seen = []
    await connection.client(Transfer).transfer(request, callOptions(ctx))
    assert.deepEqual(seen, ['done'])
  },
)

check(
  'an archive is echoed',
  () => ({}),
  async ({ ctx, connection }) => {
    await using input = await RemoteStream.open(ctx, connection, 'in')
    await using output = await RemoteStream.open(ctx, connection, 'out')
    const request = {
      source: { ...pack(ImageImportStreamSchema, { stream: 'in' }) },
      destination: { ...pack(ImageExportStreamSchema, { stream: 'out' }) },
    }
    const sent = sendBytes(ctx, input, inPieces(big, 70_000)).then(() => input.close())
    const call = connection.client(Transfer).transfer(request, callOptions(ctx))
    assert.ok((await collect(receiveBytes(ctx, output))).equals(big))
    await call
    await sent
  },
)

check(
  "nothing moves between other ends, in containerd's words",
  () => ({}),
  async (given) => {
    const { ctx, connection } = given
    const ends = [
      pack(OCIRegistrySchema, { reference: 'r.example/x' }),
      pack(ImageExportStreamSchema, { stream: 'none' }),
      pack(ReadStreamSchema, { stream: 'none' }),
      {
        ...pack(ImageStoreSchema, { name: 'x' }),
        typeUrl: `type.googleapis.com/${ImageStoreSchema.typeName}`,
      },
      pack(StreamInitSchema, { id: 'none' }),
    ]
    for (const source of ends) {
      for (const destination of ends) {
        await rejectsWith(
          'unimplemented',
          connection
            .client(Transfer)
            .transfer({ source: { ...source }, destination: { ...destination } }, callOptions(ctx)),
          `method Transfer not implemented for ${source.typeUrl} to ${destination.typeUrl}`,
        )
      }
    }
  },
)

check(
  'a stream that is not open is not found',
  () => ({}),
  async ({ ctx, connection }) => {
    const client = connection.client(Transfer)
    const registry = { reference: 'r.example/x', resolver: { authStream: 'gone' } }
    const requests = [
      [pack(OCIRegistrySchema, registry), pack(ImageStoreSchema, { name: 'x' })],
      [pack(ImageImportStreamSchema, { stream: 'gone' }), pack(ImageStoreSchema, {})],
      [pack(ImageStoreSchema, { name: 'x' }), pack(ImageExportStreamSchema, { stream: 'gone' })],
    ] as const
    for (const [source, destination] of requests) {
      const request = { source: { ...source }, destination: { ...destination } }
      await rejectsWith(
        'not_found',
        client.transfer(request, callOptions(ctx)),
        /"gone": not found/,
      )
    }
  },
)

/** A registry that wants to know who one is, and tells what it heard. */
async function guardedRegistry(challenge: string) {
  const heard: string[] = []
  const server = createServer((request, response) => {
    heard.push(request.headers.authorization ?? '', request.headers['x-own']?.toString() ?? '')
    if (request.headers.authorization === undefined) {
      response.writeHead(401, { 'www-authenticate': challenge }).end()
    } else response.writeHead(404).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : 0
  return {
    host: `127.0.0.1:${port}`,
    heard,
    [Symbol.asyncDispose]: async () => await server[Symbol.asyncDispose](),
  }
}

const resolving: () => Partial<Transferrer> = () => ({
  pull: async (ctx, { reference, remotes }) => {
    await remotes.resolve(ctx, reference)
    return image
  },
})

const secret = 'hunter2-hunter2'

check('credentials are asked for when a registry wants some', resolving, async (given) => {
  const { ctx, transfers } = given
  await using registry = await guardedRegistry('Basic realm="r"')
  const reference = `${registry.host}/x:1`
  const known: Readonly<Record<string, Credentials>> = {
    password: { kind: 'password', username: 'u', secret },
    header: { kind: 'header', value: `Custom ${secret}` },
  }
  const sent = {
    password: `Basic ${Buffer.from(`u:${secret}`).toString('base64')}`,
    header: `Custom ${secret}`,
  }
  for (const kind of ['password', 'header'] as const) {
    const asked: string[] = []
    registry.heard.length = 0
    const settings = {
      reference,
      headers: { 'x-own': 'mine' },
      scheme: 'http' as const,
      credentials: (_ctx: Context, host: string) => {
        asked.push(host)
        return known[kind]
      },
    }
    const pulling = transfers.pull(ctx, settings, { name: 'x' })
    await rejectsWith('not_found', pulling)
    await assert.rejects(pulling, (err: Error) => !err.message.includes(secret))
    assert.deepEqual(asked, [registry.host])
    assert.ok(registry.heard.includes(sent[kind]))
    assert.ok(registry.heard.includes('mine'))
  }
  const unknown = { reference, credentials: () => undefined, scheme: 'http' as const }
  await rejectsWith('unauthenticated', transfers.pull(ctx, unknown, { name: 'x' }))
})

check(
  'credentials that cannot be looked up end the pull with the reason',
  resolving,
  async (given) => {
    const { ctx, transfers } = given
    await using registry = await guardedRegistry('Basic realm="r"')
    const settings = {
      reference: `${registry.host}/x:1`,
      credentials: () => {
        throw new Error('the key ring is locked')
      },
    }
    await assert.rejects(transfers.pull(ctx, settings, { name: 'x' }), /the key ring is locked/)
  },
)

check('a client may see what is asked of a registry', resolving, async (given) => {
  const { ctx, connection } = given
  await using registry = await guardedRegistry('Basic realm="r"')
  await using logs = await RemoteStream.open(ctx, connection, 'logs')
  const text = collect(receiveBytes(ctx, logs))
  const httpDebug = HTTPDebug.DEBUG
  const resolver = { httpDebug, logsStream: 'logs', defaultScheme: 'http' }
  const request = {
    source: { ...pack(OCIRegistrySchema, { reference: `${registry.host}/x:1`, resolver }) },
    destination: { ...pack(ImageStoreSchema, { name: 'x' }) },
  }
  await rejectsWith(
    'unauthenticated',
    connection.client(Transfer).transfer(request, callOptions(ctx)),
  )
  const lines = (await text).toString()
  assert.match(
    lines,
    /^registry request method="HEAD" url="http:\/\/127\.0\.0\.1:\d+\/v2\/x\/manifests\/1"$/m,
  )
})

check(
  'a scheme that is none is refused',
  () => ({}),
  async ({ ctx, connection }) => {
    const resolver = { defaultScheme: 'ftp' }
    const request = {
      source: { ...pack(OCIRegistrySchema, { reference: 'r.example/x', resolver }) },
      destination: { ...pack(ImageStoreSchema, { name: 'x' }) },
    }
    const call = connection.client(Transfer).transfer(request, callOptions(ctx))
    await rejectsWith('invalid_argument', call, /default_scheme "ftp"/)
  },
)

check(
  'a client that leaves ends its transfer, and its streams',
  () => ({
    pull: async (ctx) => {
      seen = ['begun']
      await once(ctx.signal, 'abort')
      seen.push('ended')
      throw ctx.signal.reason
    },
  }),
  async ({ ctx, transfers, streams }) => {
    seen = []
    const leaving = new AbortController()
    const own = { ...ctx, signal: leaving.signal }
    const settings = { reference: 'r.example/x', credentials: () => undefined }
    const pulling = transfers.pull(own, settings, { name: 'x' }, { onProgress: () => undefined })
    while (seen.length === 0) await sleep(5)
    leaving.abort(new Error('enough'))
    await rejectsWith('canceled', pulling)
    while (seen.length === 1) await sleep(5)
    assert.deepEqual(seen, ['begun', 'ended'])
    for (;;) {
      const { objects } = await streams.startCollection()
      if ([...objects].length === 0) break
      await sleep(5)
    }
  },
)
