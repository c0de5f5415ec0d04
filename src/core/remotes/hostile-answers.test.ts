import assert from 'node:assert/strict'
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { mediaTypes } from '#core/images/oci.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { newContext } from '#testing/context.ts'
import {
  Hostile,
  type Handler,
  blob,
  index,
  layer,
  openClient,
  readAll,
  resolve,
} from '#testing/hostile-registry.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { maxDocumentBytes } from './document.ts'

suite('answers of a registry that means ill', { timeout: 120_000 }, () => {
  test('a manifest of 500 MB is not read', async (t) => {
    const announced = resolve(t, (_request, response) => {
      response.writeHead(200, {
        'content-length': 500_000_000,
        'docker-content-digest': layer.digest,
      })
      response.end()
    })
    await rejectsWith('resource_exhausted', announced, /500000000 bytes/)
    let sent = 0
    const silent = resolve(t, (request, response) => {
      if (request.method === 'HEAD') return response.writeHead(200).end()
      const chunk = Buffer.alloc(65_536)
      const more = (): void => {
        while (!response.destroyed && sent < 500_000_000 && response.write(chunk))
          sent += chunk.length
      }
      response.on('drain', more)
      return more()
    })
    await rejectsWith('resource_exhausted', silent)
    assert.ok(sent < 8 * maxDocumentBytes, `${sent} bytes were taken`)
  })

  test('what a manifest is said to be is compared with what it is', async (t) => {
    const other = digestOf('something else')
    const lying = resolve(t, (request, response) => {
      // Without a length, the digest of the head cannot be used.
      response.writeHead(200, { 'docker-content-digest': other, 'transfer-encoding': 'chunked' })
      response.end(request.method === 'HEAD' ? undefined : index)
    })
    await rejectsWith('data_loss', lying, /sends sha256:.* where it should be sha256:/)
    const broken = resolve(t, (_request, response) => {
      response.writeHead(200, { 'docker-content-digest': 'sha256:xyz', 'content-length': 5 }).end()
    })
    await rejectsWith('data_loss', broken, /not a valid digest/)
    const unsaid = await resolve(t, (request, response) => {
      response.writeHead(200, { 'content-type': mediaTypes.ociIndex })
      response.end(request.method === 'HEAD' ? undefined : index)
    })
    assert.deepEqual(unsaid, {
      mediaType: mediaTypes.ociIndex,
      digest: digestOf(index),
      size: index.length,
    })
  })

  test('a registry without HEAD is asked by GET, and old schemas are refused', async (t) => {
    const target = await resolve(t, (request, response) => {
      if (request.method === 'HEAD') return response.writeHead(405).end()
      return response
        .writeHead(200, { 'content-type': `${mediaTypes.ociIndex}; charset=utf-8` })
        .end(index)
    })
    assert.equal(target.digest, digestOf(index))
    const old = resolve(t, (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/plain', 'content-length': '2' }).end('{}')
    })
    await rejectsWith('unimplemented', old, /schema 1/)
  })

  test('a flood of headers ends the connection', async (t) => {
    const flooded = resolve(t, (_request, response) => {
      for (let i = 0; i < 2000; i++) response.setHeader(`x-${i}`, 'v'.repeat(100))
      response.end()
    })
    await rejectsWith('unavailable', flooded, /more headers than any registry/)
    const challenges = resolve(t, (_request, response) => {
      response.writeHead(401, { 'www-authenticate': 'Basic a=b, '.repeat(4000) }).end()
    })
    await rejectsWith('unauthenticated', challenges)
  })

  test('a registry in trouble is asked again, as often and as late as it says, within bounds', async (t) => {
    let requests = 0
    const target = await resolve(t, (_request, response) => {
      if (++requests < 3) return response.writeHead(503, { 'retry-after': '0' }).end()
      return response
        .writeHead(200, { 'content-length': 5, 'docker-content-digest': layer.digest })
        .end()
    })
    assert.equal(target.size, 5)
    assert.equal(requests, 3)
    const limited = resolve(t, (_request, response) => {
      response.writeHead(429, { 'retry-after': '86400' })
      response.end('{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}')
    })
    await rejectsWith(
      'resource_exhausted',
      limited,
      /rate limit.*pull rate limit.*Retry-After: 86400.*log in/,
    )
  })

  test('the words of a registry are shown: short, on one line, without secrets', async (t) => {
    const refused = resolve(t, (_request, response) => {
      const message = `no\u001b[31m\n access, token=abcdefghijk ${'x'.repeat(5000)}`
      response.writeHead(403).end(JSON.stringify({ errors: [{ code: 'DENIED', message }] }))
    })
    await assert.rejects(refused, (err: Error) => {
      assert.match(err.message, /pull access denied.*status 403, DENIED: no/)
      assert.doesNotMatch(err.message, /\p{Cc}|abcdefghijk/u)
      assert.ok(err.message.length < 1200)
      return true
    })
  })

  test('an upload that breaks in the middle of a piece goes on from what arrived', async (t) => {
    let stored = Buffer.alloc(0)
    let broke = false
    await using registry = await Hostile.open((request, response, path) => {
      const location = { location: '/v2/a/b/blobs/uploads/1' }
      if (request.method === 'HEAD') return response.writeHead(404).end()
      if (request.method === 'GET') {
        return response.writeHead(204, { ...location, range: `0-${stored.length - 1}` }).end()
      }
      request.on('data', (chunk: Buffer) => {
        stored = Buffer.concat([stored, chunk])
        if (broke || stored.length < 90_000) return
        broke = true
        stored = stored.subarray(0, 75_000)
        request.destroy()
      })
      return request.on('end', () => {
        const done = request.method === 'PUT'
        if (done) assert.ok(path.includes(encodeURIComponent(layer.digest)))
        response.writeHead(done ? 201 : 202, location).end()
      })
    })
    await using client = openClient()
    const ctx = newContext(t)
    const pusher = await client.pusher(ctx, `${registry.host}/a/b:1`)
    const source = (offset: number): Buffer[] => [blob.subarray(offset)]
    await pusher.push(ctx, layer, source, { chunkSize: 60_000 })
    assert.deepEqual(stored, blob)
    assert.ok(broke)
  })

  test('mirrors are asked first, and the registry when they fail', async (t) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'mirrors-'))
    const refusing: Handler = (_request, response) => void response.writeHead(500).end()
    const knowing: Handler = (request, response) => {
      const headers = { 'content-type': mediaTypes.ociIndex, 'content-length': index.length }
      response.writeHead(200, { ...headers, 'docker-content-digest': digestOf(index) })
      response.end(request.method === 'HEAD' ? undefined : index)
    }
    await using broken = await Hostile.open(refusing)
    await using pullOnly = await Hostile.open(knowing)
    await using origin = await Hostile.open(knowing)
    await mkdir(join(dir.path, 'reg.example'))
    await writeFile(
      join(dir.path, 'reg.example', 'hosts.toml'),
      `server = "http://${origin.host}"
[host."http://${broken.host}"]
[host."http://${pullOnly.host}/cache"]
capabilities = ["pull"]
`,
    )
    await using client = openClient({ hostsDirs: [dir.path] })
    const ctx = newContext(t)
    const name = 'reg.example/a/b:1'
    const { target, host } = await client.resolve(ctx, name)
    assert.equal(host, origin.host)
    const fetcher = await client.fetcher(ctx, name)
    assert.deepEqual(await readAll(await fetcher.fetch(ctx, target)), index)
    assert.deepEqual(
      pullOnly.asked.map(({ url }) => url),
      [`/cache/v2/a/b/manifests/${target.digest}?ns=reg.example`],
    )
    assert.equal(broken.asked[0]?.url, '/v2/a/b/manifests/1?ns=reg.example')
  })
})
