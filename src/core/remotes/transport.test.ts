import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { suite, test } from 'node:test'

import { defaultTimeouts, Transport } from './transport.ts'

/** What a server says to a request that begins like this. */
type Say = (request: string) => string

const tls = { ca: [], client: [], skipVerify: false }
const answer = (body: string): string => `HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n${body}`

/** Asks a server for heads and bodies in turn. @returns how many connections that took. */
async function connectionsTo(say: Say, times: number): Promise<number> {
  await using scope = new AsyncDisposableStack()
  const sockets = new Set<Socket>()
  const server = scope.adopt(createServer(), async (opened) => {
    for (const socket of sockets) socket.destroy()
    opened.close()
    await once(opened, 'close')
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('data', (data) => void socket.write(say(data.toString())))
    socket.on('error', () => undefined)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  assert.ok(address !== null && typeof address === 'object')
  const transport = scope.use(
    new Transport({ tls, dialTimeoutMs: 5000, timeouts: defaultTimeouts, env: {} }),
  )
  const url = new URL(`http://127.0.0.1:${address.port}/`)
  for (let n = 0; n < times; n++) {
    const head = await transport.request(url, { method: 'HEAD' })
    await head.body.dump()
    const { body } = await transport.request(url, { method: 'GET' })
    assert.equal(await body.text(), 'world')
  }
  return sockets.size
}

void suite('connections to a registry', () => {
  void test('are kept over a HEAD', async () => {
    const say: Say = (request) => answer(request.startsWith('HEAD') ? '' : 'world')
    assert.ok((await connectionsTo(say, 20)) <= 3)
  })

  void test('end with a HEAD that is answered with a body, which is taken for no answer', async () => {
    const say: Say = (request) => answer(request.startsWith('HEAD') ? 'HELLO' : 'world')
    assert.ok((await connectionsTo(say, 20)) > 3)
  })
})
