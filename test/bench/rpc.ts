/*
 * Unary calls per second on one connection, client and server in processes of their own.
 *
 *   node test/bench/rpc.ts [in flight, 64] [seconds a round, 2] [rounds, 3]
 *
 * The row `http2` is the same exchange on bare node:http2, without messages, dispatch or types: what
 * an engine that is not wharf's own would cost at least. Rows are interleaved round by round, so
 * compare them with each other, not with another run.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempDisposable } from 'node:fs/promises'
import { type ServerHttp2Stream, connect as connectHttp2, createServer } from 'node:http2'
import { connect as connectSocket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { Version } from '#gen/services/version_pb.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import { listenGrpc } from '#lib/grpc/server.ts'
import { type Call, type Connection, implement } from '#lib/rpc/rpc.ts'
import { connectTtrpc } from '#lib/ttrpc/client.ts'
import { listenTtrpc } from '#lib/ttrpc/server.ts'

const kinds = ['http2', 'grpc', 'ttrpc'] as const
type Kind = (typeof kinds)[number]

interface Caller extends AsyncDisposable {
  readonly call: () => Promise<unknown>
}

const metadata = { 'containerd-namespace': 'default' }

if (process.send) await serve(process.argv[2] ?? '')
else await measure(process.argv.slice(2).map(Number))

/** The child: serves every kind, and tells its processor time when it is asked. */
async function serve(dir: string): Promise<void> {
  const services = [
    implement<{ namespace: string | undefined }, typeof Version>(Version, {
      version: () => ({ version: '1.0.0', revision: '0123456789abcdef' }),
    }),
  ]
  const context = (call: Call): { namespace: string | undefined; signal: AbortSignal } => ({
    namespace: call.metadata.get('containerd-namespace'),
    signal: call.signal,
  })
  await using scope = new AsyncDisposableStack()
  scope.use(await listenGrpc({ path: join(dir, 'grpc') }, { services, context }))
  scope.use(await listenTtrpc({ path: join(dir, 'ttrpc') }, { services, context }))
  const bare = scope.use(createServer())
  bare.on('stream', answerBare)
  bare.listen(join(dir, 'http2'))
  process.on('message', () => process.send?.(cpuMicros()))
  process.send?.('ready')
  await once(process, 'disconnect')
  process.exit()
}

function answerBare(stream: ServerHttp2Stream): void {
  stream.on('data', () => {})
  stream.on('end', () => {
    const headers = { ':status': 200, 'content-type': 'application/grpc' }
    stream.respond(headers, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    stream.end(Buffer.alloc(30))
  })
}

async function measure([flight = 64, seconds = 2, rounds = 3]: readonly number[]): Promise<void> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'bench-rpc-'))
  const child = fork(import.meta.filename, [dir.path])
  await once(child, 'message')
  console.log('transport  calls/s  client µs/call  server µs/call')
  for (let round = 0; round < rounds; round++) {
    for (const kind of kinds) await measureOne(kind, dir.path, child, flight, seconds * 1000)
  }
  const exited = once(child, 'exit')
  child.disconnect()
  await exited
}

async function measureOne(
  kind: Kind,
  dir: string,
  child: ChildProcess,
  flight: number,
  ms: number,
): Promise<void> {
  await using caller = await open(kind, join(dir, kind))
  await run(caller, flight, ms / 4)
  const [server, client, start] = [await cpuOf(child), cpuMicros(), performance.now()]
  const calls = await run(caller, flight, ms)
  const perSecond = (calls * 1000) / (performance.now() - start)
  const clientMicros = (cpuMicros() - client) / calls
  const serverMicros = ((await cpuOf(child)) - server) / calls
  const cells = [Math.round(perSecond), clientMicros.toFixed(1), serverMicros.toFixed(1)]
  const widths = [7, 14, 14]
  console.log(kind.padEnd(9), ...cells.map((cell, n) => String(cell).padStart(widths[n] ?? 0)))
}

async function run(caller: Caller, flight: number, ms: number): Promise<number> {
  let calls = 0
  const end = performance.now() + ms
  const one = async (): Promise<void> => {
    for (; performance.now() < end; calls++) await caller.call()
  }
  await Promise.all(Array.from({ length: flight }, one))
  return calls
}

async function open(kind: Kind, path: string): Promise<Caller> {
  if (kind === 'grpc') return typed(await connectGrpc(path, { metadata }))
  if (kind === 'ttrpc') return typed(await connectTtrpc(path, { metadata }))
  const session = connectHttp2('http://localhost', {
    createConnection: () => connectSocket({ path }),
  })
  const headers = { ':method': 'POST', ':path': '/a.B/C', te: 'trailers', ...metadata }
  return {
    call: async () => {
      const { promise, resolve, reject } = Promise.withResolvers<void>()
      const stream = session.request(headers, { endStream: false })
      stream.on('error', reject)
      stream.on('trailers', () => {})
      stream.on('data', () => {})
      stream.on('end', resolve)
      stream.end(Buffer.alloc(5))
      await promise
    },
    [Symbol.asyncDispose]: async () => {
      session.destroy()
      await once(session, 'close')
    },
  }
}

function typed(connection: Connection): Caller {
  const client = connection.client(Version)
  return {
    call: async () => await client.version({}),
    [Symbol.asyncDispose]: async () => await connection[Symbol.asyncDispose](),
  }
}

function cpuMicros(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

async function cpuOf(child: ChildProcess): Promise<number> {
  const answered = once(child, 'message')
  child.send('cpu')
  const [micros] = await answered
  return Number(micros)
}
