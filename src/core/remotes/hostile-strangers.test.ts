import assert from 'node:assert/strict'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { suite, test } from 'node:test'

import { newContext } from '#testing/context.ts'
import {
  Hostile,
  type Handler,
  blob,
  flood,
  layer,
  openClient,
  readAll,
  resolve,
} from '#testing/hostile-registry.ts'
import { rejectsWith } from '#testing/rejects.ts'

suite('redirects and realms of a registry that means ill', { timeout: 120_000 }, () => {
  test('a redirect is followed without what proves who asks', async (t) => {
    const seen: IncomingMessage['headers'][] = []
    await using storage = await Hostile.open((request, response) => {
      seen.push(request.headers)
      response.writeHead(200, { 'content-length': blob.length }).end(blob)
    })
    const ctx = newContext(t)
    await using registry = await Hostile.open((request, response) => {
      if (request.headers.authorization === undefined) {
        response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end()
      } else response.writeHead(307, { location: `http://${storage.host}/x?sig=1` }).end()
    })
    await using client = openClient({
      headers: { 'x-own': 'secret' },
      credentials: () => ({ kind: 'password', username: 'me', secret: 'pass word' }),
    })
    const fetcher = await client.fetcher(ctx, `${registry.host}/a/b:1`)
    assert.deepEqual(await readAll(await fetcher.fetch(ctx, layer)), blob)
    assert.equal(seen.length, 1)
    assert.equal(seen[0]?.authorization, undefined)
    assert.equal(seen[0]?.['x-own'], undefined)
  })

  test('a redirect in a loop, to nowhere, or to a file ends', async (t) => {
    const loop = resolve(t, (request, response) => {
      response.writeHead(302, { location: request.url }).end()
    })
    await rejectsWith('unavailable', loop, /stopped after 10 redirects/)
    const file = resolve(t, (_request, response) => {
      response.writeHead(302, { location: 'file:///etc/shadow' }).end()
    })
    await rejectsWith('failed_precondition', file, /not http or https/)
  })

  test('what another host says after a redirect is not repeated, nor obeyed', async (t) => {
    await using metadata = await Hostile.open((_request, response) => {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="r"' }).end('instance-key=hunter2')
    })
    let asked = 0
    const handler: Handler = (_request, response) => {
      response.writeHead(302, { location: `http://${metadata.host}/latest` }).end()
    }
    const credentials = (): undefined => void asked++
    await assert.rejects(resolve(t, handler, { credentials }), (err: Error) => {
      assert.doesNotMatch(err.message, /hunter2/)
      return true
    })
    assert.equal(asked, 0)
  })

  test('storage that refuses is named, and clocks that differ are, too', async (t) => {
    const date = new Date(Date.now() - 3_600_000).toUTCString()
    await using storage = await Hostile.open((_request, response) => {
      response.writeHead(403, { date }).end('<Error><Code>RequestTimeTooSkewed</Code></Error>')
    })
    const refused = resolve(t, (_request, response) => {
      response.writeHead(307, { location: `http://${storage.host}/x` }).end()
    })
    const message = new RegExp(
      `storage behind the registry refuses: host ${storage.host}, to which 127.* redirects, said: status 403; .*its clock says .*this machine's`,
    )
    await rejectsWith('permission_denied', refused, message)
  })

  test('a token is fetched once for all who need it, and again when it is refused', async (t) => {
    let issued = 0
    let good = ''
    await using registry = await Hostile.open((request, response, path) => {
      const { host = '' } = request.headers
      if (path.startsWith('/token')) {
        const url = new URL(path, 'http://x')
        assert.deepEqual(url.searchParams.getAll('scope'), ['repository:a/b:pull'])
        good = `token-${++issued}`
        return response.end(JSON.stringify({ token: good, expires_in: 300 }))
      }
      if (request.headers.authorization !== `Bearer ${good}`) {
        const challenge = `Bearer realm="http://${host}/token",service="s",scope="repository:a/b:pull"`
        return response.writeHead(401, { 'www-authenticate': challenge }).end()
      }
      return response.writeHead(200, { 'content-length': blob.length }).end(blob)
    })
    await using client = openClient()
    const ctx = newContext(t)
    const fetcher = await client.fetcher(ctx, `${registry.host}/a/b:1`)
    await Promise.all(
      [1, 2, 3, 4].map(async () =>
        assert.deepEqual(await readAll(await fetcher.fetch(ctx, layer)), blob),
      ),
    )
    assert.equal(issued, 1)
    good = 'revoked'
    assert.deepEqual(await readAll(await fetcher.fetch(ctx, layer)), blob)
    assert.equal(issued, 2)
  })

  test('credentials are posted to the realm, and by GET where POST is not known', async (t) => {
    const posts: string[] = []
    let knowsPost = true
    const handler: Handler = (request, response, path) => {
      if (!path.startsWith('/token')) {
        const ok = request.headers.authorization === 'Bearer t-o-k-e-n'
        const challenge = `Bearer realm="http://${request.headers.host}/token",service="s"`
        if (!ok) return response.writeHead(401, { 'www-authenticate': challenge }).end()
        return response
          .writeHead(200, { 'content-length': 2, 'docker-content-digest': layer.digest })
          .end()
      }
      if (request.method === 'POST' && !knowsPost) return response.writeHead(404).end()
      if (request.method === 'GET') posts.push(request.headers.authorization ?? 'none')
      else request.setEncoding('utf8').on('data', (text: string) => posts.push(text))
      return request.on('end', () => response.end('{"access_token":"t-o-k-e-n"}')).resume()
    }
    const credentials = () => ({ kind: 'password', username: 'me', secret: 'p w&' }) as const
    await resolve(t, handler, { credentials })
    knowsPost = false
    await resolve(t, handler, { credentials })
    knowsPost = true
    await resolve(t, handler, { credentials: () => ({ kind: 'refresh', token: 'again' }) })
    await resolve(t, handler, {
      credentials: () => ({ kind: 'header', value: 'Bearer t-o-k-e-n' }),
    })
    assert.match(posts[0] ?? '', /grant_type=password&username=me&password=p\+w%26/)
    assert.equal(posts[1], `Basic ${Buffer.from('me:p w&').toString('base64')}`)
    assert.match(posts[2] ?? '', /grant_type=refresh_token&refresh_token=again/)
    assert.equal(posts.length, 3)
  })

  test('a realm that is less safe than the registry hears nothing', async (t) => {
    const realms = [
      'http://elsewhere.invalid/token',
      'file:///etc/passwd',
      'nothing',
      'http://a:b@127.0.0.1/',
    ]
    for (const realm of realms) {
      const asking = resolve(
        t,
        (_request, response) => {
          response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}"` }).end()
        },
        { credentials: () => assert.fail('was asked') },
      )
      await rejectsWith('failed_precondition', asking, /asks for a token from a realm that/)
    }
  })

  test('a realm that redirects does not get the password sent on', async (t) => {
    const bodies: string[] = []
    await using thief = await Hostile.open((request, response) => {
      request.setEncoding('utf8').on('data', (text: string) => bodies.push(text))
      bodies.push(request.headers.authorization ?? '')
      request.on('end', () => response.end('{"token":"abcdef"}'))
    })
    const asking = resolve(
      t,
      (request, response, path) => {
        const realm = `http://${request.headers.host}/token`
        if (path.startsWith('/token')) {
          response.writeHead(307, { location: `http://${thief.host}/` }).end()
        } else response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}"` }).end()
      },
      { credentials: () => ({ kind: 'password', username: 'me', secret: 'hunter2hunter2' }) },
    )
    await assert.rejects(asking)
    assert.doesNotMatch(bodies.join(), /hunter2|aHVudGVyMmh1bnRlcjI|Basic/)
  })

  test('a token that would end its header, and an endless one, are refused', async (t) => {
    const withToken = async (answer: (response: ServerResponse) => void): Promise<unknown> =>
      await resolve(t, (request, response, path) => {
        const realm = `http://${request.headers.host}/token`
        if (path.startsWith('/token')) answer(response)
        else response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}"` }).end()
      })
    const split = withToken((response) => response.end('{"token":"a\\r\\nX-Evil: 1"}'))
    await rejectsWith('unauthenticated', split, /its answer has no token/)
    const endless = withToken((response) => flood(response, Buffer.alloc(65_536, 'x')))
    await rejectsWith('resource_exhausted', endless, /token from/)
  })
})
