import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { gzipSync } from 'node:zlib'

import { writeBlob } from '#core/content/write-blob.ts'
import { LocalStore } from '#plugins/content/local/local-store.ts'
import { newContext } from '#testing/context.ts'
import {
  Hostile,
  blob,
  fetchLayer,
  flood,
  layer,
  offsetOf,
  openClient,
  readAll,
} from '#testing/hostile-registry.ts'
import { rejectsWith } from '#testing/rejects.ts'

suite('bodies of a registry that means ill', { timeout: 120_000 }, () => {
  test('a body that breaks is taken up where it was', async (t) => {
    let requests = 0
    const got = await fetchLayer(t, (request, response) => {
      requests++
      const offset = offsetOf(request)
      const rest = blob.subarray(offset)
      response.writeHead(offset > 0 ? 206 : 200, {
        'content-length': rest.length,
        ...(offset > 0 && { 'content-range': `bytes ${offset}-${blob.length - 1}/${blob.length}` }),
      })
      response.write(rest.subarray(0, 50_000), () => {
        if (rest.length > 50_000) response.destroy()
        else response.end(rest.subarray(50_000))
      })
    })
    assert.deepEqual(got, blob)
    assert.ok(requests >= 4)
  })

  test('a body is taken up also where ranges are not known', async (t) => {
    let requests = 0
    const got = await fetchLayer(t, (_request, response) => {
      response.writeHead(200, { 'content-length': blob.length })
      if (requests++ === 0) response.write(blob.subarray(0, 70_000), () => response.destroy())
      else response.end(blob)
    })
    assert.deepEqual(got, blob)
  })

  test('a body that always breaks at once ends as an error', async (t) => {
    let requests = 0
    const fetching = fetchLayer(t, (_request, response) => {
      requests++
      response.writeHead(200, { 'content-length': blob.length })
      response.flushHeaders()
      setTimeout(() => response.destroy(), 10)
    })
    await rejectsWith('unavailable', fetching, /ended the connection early/)
    assert.ok(requests <= 12, String(requests))
  })

  test('a body that ends early, as if all were well, is noticed', async (t) => {
    const fetching = fetchLayer(t, (_request, response) => {
      response.end(blob.subarray(0, 1000))
    })
    await rejectsWith('unavailable', fetching, /does not send all of it/)
  })

  test('a body without end is cut off at its size', async (t) => {
    const fetching = fetchLayer(t, (_request, response) => flood(response, blob))
    await rejectsWith('data_loss', fetching, /sends more than the 200000 bytes/)
  })

  test('the wrong part of a body is refused', async (t) => {
    let requests = 0
    const fetching = fetchLayer(t, (_request, response) => {
      if (requests++ === 0) {
        response.writeHead(200, { 'content-length': blob.length })
        response.write(blob.subarray(0, 1000), () => response.destroy())
      } else {
        response.writeHead(206, { 'content-range': `bytes 7-99/${blob.length}` })
        response.end(blob.subarray(7, 100))
      }
    })
    await rejectsWith('data_loss', fetching, /bytes 7-99.*were asked for/)
  })

  test('a body that stops, or crawls, is given up', async (t) => {
    const stopped = fetchLayer(t, (_request, response) => {
      response.writeHead(200, { 'content-length': blob.length })
      response.write('x')
    })
    await rejectsWith('unavailable', stopped, /stopped sending|does not send all/)
    const crawling = fetchLayer(t, (request, response) => {
      response.writeHead(200, { 'content-length': blob.length })
      const timer = setInterval(() => response.write('x'), 20)
      request.socket.once('close', () => clearInterval(timer))
    })
    await rejectsWith('unavailable', crawling, /it brings \d+ bytes in \d+ ms/)
  })

  test('a body in an encoding that nobody asked for is decoded', async (t) => {
    const got = await fetchLayer(t, (_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(blob))
    })
    assert.deepEqual(got, blob)
    const bomb = fetchLayer(t, (_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' })
      response.end(gzipSync(Buffer.alloc(50_000_000)))
    })
    await rejectsWith('data_loss', bomb, /sends more than/)
  })

  test('an aborted fetch ends, and leaves nothing running', async (t) => {
    await using hostile = await Hostile.open((_request, response) => {
      response.writeHead(200, { 'content-length': blob.length })
      response.write(blob.subarray(0, 1000))
    })
    await using client = openClient({ timeouts: { idleMs: 60_000 } })
    const stop = new AbortController()
    const ctx = { ...newContext(t), signal: stop.signal }
    const fetcher = await client.fetcher(ctx, `${hostile.host}/a/b:1`)
    const reading = readAll(await fetcher.fetch(ctx, layer))
    stop.abort(new Error('enough'))
    await assert.rejects(reading, /enough|aborted/)
  })

  test('what is not what was asked for is not stored', async (t) => {
    const ctx = newContext(t)
    await using dir = await mkdtempDisposable(join(tmpdir(), 'stored-'))
    await using store = LocalStore.open(ctx, dir.path)
    const other = Buffer.alloc(layer.size)
    await using hostile = await Hostile.open((_request, response) => response.end(other))
    await using client = openClient()
    const fetcher = await client.fetcher(ctx, `${hostile.host}/a/b:1`)
    await using body = await fetcher.fetch(ctx, layer)
    const writing = writeBlob(ctx, store, body, { ref: 'x', ...layer })
    await rejectsWith('failed_precondition', writing, /unexpected (?:commit )?digest/)
    await rejectsWith('not_found', store.info(ctx, layer.digest))
  })

  test('what is fetched goes on, days later, from what is stored', async (t) => {
    const ctx = newContext(t)
    await using dir = await mkdtempDisposable(join(tmpdir(), 'stored-'))
    await using store = LocalStore.open(ctx, dir.path)
    const offsets: number[] = []
    await using hostile = await Hostile.open((request, response) => {
      const offset = offsetOf(request)
      offsets.push(offset)
      response.writeHead(offset > 0 ? 206 : 200).end(blob.subarray(offset))
    })
    await using client = openClient()
    const fetcher = await client.fetcher(ctx, `${hostile.host}/a/b:1`)
    for (const most of [150_000, blob.length]) {
      await using writer = await store.writer(ctx, { ref: 'x', total: blob.length })
      const { offset } = writer.status()
      await using body = await fetcher.fetch(ctx, layer, { offset })
      for await (const chunk of body) {
        await writer.write(ctx, chunk)
        if (writer.status().offset >= most) break
      }
      if (most === blob.length) await writer.commit(ctx, { expected: layer.digest })
    }
    assert.equal(offsets.length, 2)
    assert.ok((offsets[1] ?? 0) >= 150_000)
    assert.equal((await store.info(ctx, layer.digest)).size, blob.length)
  })
})
