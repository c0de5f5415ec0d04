import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { suite, test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

import { type Http2ClientConnection, openHttp2 } from './client.ts'
import type { Http2Stream, StreamEnd } from './stream.ts'
import { good, listen } from './raw-peer.ts'

const request = Buffer.from('hello')
const respond = (stream: Http2Stream): void => {
  stream.sendHeaders([':status', '200'])
  stream.sendData(request)
  stream.sendTrailers(['x-status', '0'])
}

/** Answers each request with a few bytes, at once. */
const answer = (stream: Http2Stream): void => {
  stream.receiver = {
    onData: (_, end) => {
      if (end) respond(stream)
    },
    onClose: () => {},
  }
}

async function open(path: string): Promise<Http2ClientConnection> {
  const socket = connect({ path })
  await once(socket, 'connect')
  return openHttp2(socket)
}

async function call(client: Http2ClientConnection): Promise<StreamEnd> {
  const { promise, resolve } = Promise.withResolvers<StreamEnd>()
  const stream = client.request(good, [], { onData: () => {}, onClose: resolve })
  stream.sendData(request, true)
  return await promise
}

async function calls(client: Http2ClientConnection, count: number): Promise<void> {
  let left = count
  const worker = async (): Promise<void> => {
    while (left-- > 0) assert.equal(await call(client), 'finished')
  }
  await Promise.all(Array.from({ length: 64 }, worker))
}

function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  const gc: unknown = runInNewContext('gc')
  if (typeof gc === 'function') gc()
}

const heapBytes = (): number => {
  collectGarbage()
  return process.memoryUsage().heapUsed
}

suite('one connection under load', { timeout: 60_000 }, () => {
  test('its memory does not grow with the calls it has served', async () => {
    await using server = await listen({ onStream: answer })
    const client = await open(server.path)
    await calls(client, 10_000)
    const before = heapBytes()
    await calls(client, 50_000)
    const grown = heapBytes() - before
    // Sixty bytes a call: less than any object that one could leave behind.
    assert.ok(grown < 3_000_000, `${grown} bytes more`)
    client.destroy()
  })

  test('ten thousand streams are open at once, and all are answered', async () => {
    const waiting: Http2Stream[] = []
    const count = 10_000
    const all = Promise.withResolvers<void>()
    await using server = await listen({
      onStream: (stream) => {
        if (waiting.push(stream) === count) all.resolve()
      },
    })
    const client = await open(server.path)
    const answers = Array.from({ length: count }, async () => await call(client))
    await all.promise
    for (const stream of waiting) respond(stream)
    assert.ok((await Promise.all(answers)).every((end) => end === 'finished'))
    client.destroy()
  })

  test('each of many large responses gets its turn', async () => {
    const [count, bytes] = [50, 2_000_000]
    const body = Buffer.alloc(bytes, 1)
    await using server = await listen({
      onStream: (stream) => {
        stream.sendHeaders([':status', '200'])
        stream.sendData(body, true)
      },
    })
    const client = await open(server.path)
    const first: number[] = []
    const got = Array.from({ length: count }, () => 0)
    await Promise.all(
      got.map(async (_, n) => {
        const { promise, resolve } = Promise.withResolvers<void>()
        const stream = client.request(good, [], {
          onData: (chunk) => {
            if (got[n] === 0) first.push(got.reduce((sum, size) => sum + size, 0))
            got[n] = (got[n] ?? 0) + chunk.length
            stream.credit(chunk.length)
          },
          onClose: () => resolve(),
        })
        stream.sendData(Buffer.alloc(0), true)
        await promise
      }),
    )
    assert.ok(got.every((size) => size === bytes))
    assert.ok(Math.max(...first) < bytes * 5, 'the last one waited for too many others')
    client.destroy()
  })
})
