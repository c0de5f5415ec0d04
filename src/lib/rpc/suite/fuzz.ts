import assert from 'node:assert/strict'
import { type Server, type Socket, connect, createServer } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { within } from '#lib/rpc/within.ts'

import { mutate, seeded } from './mutate.ts'
import { allTexts, text, textOf, texts } from './service.ts'
import { type Opened, Serving } from './serving.ts'

/** What a transport gives to be fuzzed. */
export interface FuzzTarget {
  readonly seed: number
  readonly rounds: number
  /** A directory for sockets. */
  readonly dir: string
  /** Serves the echo methods at `path`. */
  readonly listen: (path: string) => Promise<Opened['server']>
  readonly connect: (path: string) => Promise<Opened['connection']>
}

/**
 * Sends the bytes of a good client to the server again and again, each time damaged another way.
 * The server must survive, must answer a good client all the while, and must end with no call left.
 */
export async function fuzzServer(target: FuzzTarget): Promise<void> {
  const path = join(target.dir, 'server')
  await using server = await target.listen(path)
  await using serving = new Serving({ server, connection: await target.connect(path) })
  const good = await record(target, path)
  assert.ok(good.length > 100)
  const random = seeded(target.seed)
  for (let round = 0; round < target.rounds; round++) {
    await send(path, mutate(good, random))
    if (round % 20 === 0) assert.equal(textOf(await serving.client.unary(text('ok'))), 'ok')
  }
  assert.deepEqual(await allTexts(serving.client.chat(texts('a'))), ['a!'])
  for (let n = 0; server.activeCalls > 0 && n < 500; n++) await sleep(10)
  assert.equal(server.activeCalls, 0)
}

/** What a client sends for a call of each kind, caught on its way to the server. */
async function record(target: FuzzTarget, path: string): Promise<Buffer> {
  const sent: Buffer[] = []
  const between = join(target.dir, 'between')
  const proxy = createServer((socket: Socket) => {
    const upstream = connect({ path })
    socket.on('data', (chunk: Buffer) => sent.push(chunk))
    socket.pipe(upstream).pipe(socket)
    upstream.on('error', () => socket.destroy())
    socket.on('error', () => upstream.destroy())
  })
  await listening(proxy, between)
  {
    await using connection = await target.connect(between)
    await callAll(new Serving({ server: none, connection }))
  }
  proxy.close()
  await once(proxy, 'close')
  return Buffer.concat(sent)
}

const none: Opened['server'] = { activeCalls: 0, [Symbol.asyncDispose]: () => Promise.resolve() }

async function callAll({ client }: Serving): Promise<void> {
  const options = { metadata: { 'containerd-namespace': 'default' }, timeoutMs: 60_000 }
  await client.unary(text('one'), options)
  await allTexts(client.expand(text('a b c')))
  await client.collect(texts('a', 'b'))
  await allTexts(client.chat(texts('a', 'b')))
}

async function listening(server: Server, path: string): Promise<void> {
  server.listen({ path })
  await once(server, 'listening')
}

async function send(path: string, bytes: Buffer): Promise<void> {
  const socket = connect({ path })
  socket.on('error', () => {})
  socket.resume()
  const closed = once(socket, 'close')
  socket.end(bytes)
  await within(closed, 5)
  socket.destroy()
  await closed
}
