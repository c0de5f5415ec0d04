import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtempDisposable, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'

import type { Context } from '#core/context.ts'
import { mediaTypes } from '#core/images/oci.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { CertificateAuthority, type Certified } from '#testing/certificates.ts'
import { newContext, recordingLogger } from '#testing/context.ts'
import { run } from '#testing/daemon.ts'
import { DockerRegistry, lacksRegistry } from '#testing/docker-registry.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { root } from '#testing/root.ts'
import { TokenServer } from '#testing/token-server.ts'

import { RegistryClient, type RegistryClientOptions } from './client.ts'

const retry = { firstWaitMs: 1 }
const manifest = Buffer.from(
  JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [] }),
)
const target = {
  mediaType: mediaTypes.ociIndex,
  digest: digestOf(manifest),
  size: manifest.length,
}

/** Pushes something and resolves it. */
async function roundTrip(
  ctx: Context,
  host: string,
  options: RegistryClientOptions,
): Promise<void> {
  await using client = new RegistryClient({ ...options, retry })
  const name = `${host}/secure/app:1`
  const pusher = await client.pusher(ctx, name)
  await pusher.push(ctx, target, () => [manifest])
  assert.deepEqual((await client.resolve(ctx, name)).target, target)
}

/** Resolves something that is not there: gets as far as the registry's answer. */
async function resolve(ctx: Context, host: string, options: RegistryClientOptions): Promise<void> {
  await using client = new RegistryClient({ ...options, retry })
  await client.resolve(ctx, `${host}/secure/none:1`)
}

suite('registries with certificates and passwords', { skip: lacksRegistry ?? false }, () => {
  const scope = new AsyncDisposableStack()
  let dir: string
  let ca: CertificateAuthority
  let server: Certified
  let me: Certified

  before(async () => {
    dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'remotes-'))).path
    ca = await CertificateAuthority.create(dir)
    server = await ca.issue('server', { names: 'DNS:localhost,IP:127.0.0.1' })
    me = await ca.issue('me')
  })
  after(async () => await scope.disposeAsync())

  /** A directory in which `host` has what `files` say. */
  async function hostsDir(host: string, files: Readonly<Record<string, string>>): Promise<string> {
    const certs = join(dir, `certs-${host.replace(':', '-')}-${Math.random()}`)
    await mkdir(join(certs, host), { recursive: true })
    for (const [name, text] of Object.entries(files)) await writeFile(join(certs, host, name), text)
    return certs
  }

  test('TLS is checked against the CA of hosts.toml', async (t) => {
    const ctx = newContext(t)
    await using registry = await DockerRegistry.open({ tls: server })
    const { host } = registry
    const known = await hostsDir(host, {
      'hosts.toml': `server = "https://${host}"\nca = "${ca.cert}"\n`,
    })
    await roundTrip(ctx, host, { hostsDirs: [known] })
    const unknown = await hostsDir(host, { 'hosts.toml': `server = "https://${host}"\n` })
    await rejectsWith(
      'failed_precondition',
      resolve(ctx, host, { hostsDirs: [unknown] }),
      /nobody this machine trusts .*put the CA into hosts\.toml/,
    )
    const skipped = await hostsDir(host, {
      'hosts.toml': `server = "https://${host}"\nskip_verify = true\n`,
    })
    await rejectsWith('not_found', resolve(ctx, host, { hostsDirs: [skipped] }))
    // Of this machine itself, any certificate is taken when nothing is configured.
    await rejectsWith('not_found', resolve(ctx, host, {}))
  })

  test('a certificate for another name, an expired and a future one say so', async (t) => {
    const ctx = newContext(t)
    const cases = [
      ['other', { names: 'DNS:elsewhere.example' }, /certificate for another name/],
      [
        'old',
        { names: 'IP:127.0.0.1', valid: ['20200101000000Z', '20200201000000Z'] },
        /has expired .*clock/,
      ],
      [
        'early',
        { names: 'IP:127.0.0.1', valid: ['20460101000000Z', '20470101000000Z'] },
        /not valid yet .*clock/,
      ],
    ] as const
    for (const [name, options, message] of cases) {
      await using registry = await DockerRegistry.open({ tls: await ca.issue(name, options) })
      const { host } = registry
      const known = await hostsDir(host, {
        'hosts.toml': `server = "https://${host}"\nca = "${ca.cert}"\n`,
      })
      await rejectsWith('failed_precondition', resolve(ctx, host, { hostsDirs: [known] }), message)
    }
  })

  test('a client certificate is shown, from hosts.toml and from docker files', async (t) => {
    const ctx = newContext(t)
    await using registry = await DockerRegistry.open({ tls: server, clientCa: ca.cert })
    const { host } = registry
    const pair = `client = [["${me.cert}", "${me.key}"]]`
    const own = await hostsDir(host, {
      'hosts.toml': `server = "https://${host}"\nca = "${ca.cert}"\n${pair}\n`,
    })
    await roundTrip(ctx, host, { hostsDirs: [own] })
    const [cert, key] = [await readFile(me.cert, 'utf8'), await readFile(me.key, 'utf8')]
    const docker = await hostsDir(host, {
      'ca.crt': await ca.pem(),
      'me.cert': cert,
      'me.key': key,
    })
    await roundTrip(ctx, host, { hostsDirs: [docker] })
    const both = await hostsDir(host, { 'ca.crt': await ca.pem(), 'me.cert': cert + key })
    await roundTrip(ctx, host, { hostsDirs: [both] })
    const without = await hostsDir(host, { 'ca.crt': await ca.pem() })
    await rejectsWith(
      'failed_precondition',
      resolve(ctx, host, { hostsDirs: [without] }),
      /client certificate/,
    )
    const keyless = await hostsDir(host, { 'me.cert': cert })
    // A CA that takes long: what is wrong with the other file is heard all the same.
    const slow = join(keyless, host, 'ca.crt')
    assert.equal((await run('mkfifo', [slow])).code, 0)
    await rejectsWith(
      'invalid_argument',
      resolve(ctx, host, { hostsDirs: [keyless] }),
      /no private key in/,
    )
    await writeFile(slow, await ca.pem())
    const other = await readFile(server.key, 'utf8')
    const mixed = await hostsDir(host, { 'me.cert': cert, 'me.key': other })
    const mixing = resolve(ctx, host, { hostsDirs: [mixed] })
    await rejectsWith('invalid_argument', mixing, /certificates cannot be used: .*mismatch/)
  })

  test('a password is asked for, and never shown', async (t) => {
    await using registry = await DockerRegistry.open({ password: true })
    const { host } = registry
    const lines: string[] = []
    const ctx = { ...newContext(t), log: recordingLogger(lines) }
    const secret = 's3cret-pass'
    const asked: string[] = []
    await roundTrip(ctx, host, {
      credentials: (_ctx, of) => {
        asked.push(of)
        return { kind: 'password', username: 'user', secret }
      },
    })
    assert.deepEqual(asked, [host])
    await rejectsWith(
      'unauthenticated',
      resolve(ctx, host, {}),
      /may require authorization.*UNAUTHORIZED.*give credentials for 127\.0\.0\.1/,
    )
    const wrong = 'wrong-secret'
    await assert.rejects(
      resolve(ctx, host, {
        credentials: () => ({ kind: 'password', username: 'user', secret: wrong }),
      }),
      (err: Error) => {
        assert.match(err.message, /credentials for 127\.0\.0\.1:\d+ were not accepted/)
        assert.doesNotMatch(err.message, /wrong-secret/)
        return true
      },
    )
    const basic = Buffer.from(`user:${secret}`).toString('base64')
    for (const text of [secret, wrong, basic]) assert.ok(!lines.join('\n').includes(text))
  })

  test('a token is for a repository and an account, and for a time', async (t) => {
    const ctx = newContext(t)
    await using tokens = await TokenServer.open(
      await ca.issue('signer'),
      ({ scopes, user, secret }) => {
        if (user !== '' && secret !== 'pass') return undefined
        const mine = scopes.filter((each) => user !== '' && each.includes(':secure/'))
        return Object.fromEntries(mine.map((each) => [each.split(':')[1], ['pull', 'push']]))
      },
    )
    const { realm, issuer } = tokens
    await using registry = await DockerRegistry.open({ token: { realm, issuer, ca: ca.cert } })
    const { host } = registry
    const as = (secret: string): RegistryClientOptions => ({
      credentials: () => ({ kind: 'password', username: 'me', secret }),
    })
    await roundTrip(ctx, host, as('pass'))
    await rejectsWith('unauthenticated', resolve(ctx, host, {}), /give credentials for 127/)
    const wrong = resolve(ctx, host, as('wrong'))
    const said = `token from ${new URL(realm).host}.*not accepted.*host ${new URL(realm).host} said.*incorrect`
    await rejectsWith('unauthenticated', wrong, new RegExp(said))
    await using other = new RegistryClient({ ...as('pass'), retry })
    const elsewhere = other.resolve(ctx, `${host}/other/app:1`)
    await rejectsWith('permission_denied', elsewhere, /check that the account may pull/)
    tokens.skew = 3600
    const early = resolve(ctx, host, as('pass'))
    await rejectsWith('unauthenticated', early, /does not take the token .*compare their clocks/)
  })

  test('a host that speaks no TLS, or is not there, says so', async (t) => {
    const ctx = newContext(t)
    await using registry = await DockerRegistry.open()
    const { host } = registry
    const secure = await hostsDir(host, { 'hosts.toml': `server = "https://${host}"\n` })
    await rejectsWith(
      'failed_precondition',
      resolve(ctx, host, { hostsDirs: [secure] }),
      /does not speak TLS .*plain HTTP/,
    )
    await registry[Symbol.asyncDispose]()
    await rejectsWith('unavailable', resolve(ctx, host, {}), /refuses connections \(ECONNREFUSED\)/)
    await rejectsWith(
      'unavailable',
      resolve(ctx, 'no-such-host.invalid', {}),
      /not a name that can be looked up/,
    )
  })

  test('a plain host without a port is found where TLS was configured for it', async (t) => {
    if (!root(t)) return
    const ctx = newContext(t)
    const own = [127, 66, ...randomBytes(2)].join('.')
    const plain = createServer((_request, response) => response.writeHead(404).end())
    await new Promise<void>((resolved) => plain.listen(80, own, resolved))
    scope.defer(() => void plain.close())
    const hosts = await hostsDir('reg.example', {
      'hosts.toml': `server = "http://${own}"\nskip_verify = true\n`,
    })
    await rejectsWith('not_found', resolve(ctx, 'reg.example', { hostsDirs: [hosts] }))
    const secure = await hostsDir('reg.example', { 'hosts.toml': `server = "https://${own}"\n` })
    const asking = resolve(ctx, 'reg.example', { hostsDirs: [secure] })
    await rejectsWith('unavailable', asking, /refuses connections/)
  })

  test('a proxy is used for all but this machine', async (t) => {
    const ctx = newContext(t)
    const seen: string[] = []
    const proxy = createServer((request, response) => {
      seen.push(`${request.method} ${request.url}`)
      response.writeHead(404).end()
    })
    await new Promise<void>((resolved) => proxy.listen(0, '127.0.0.1', resolved))
    scope.defer(() => void proxy.close())
    const address = proxy.address()
    const port = typeof address === 'object' ? address?.port : 0
    const env = { http_proxy: `127.0.0.1:${port}` }
    await rejectsWith('not_found', resolve(ctx, 'registry.invalid', { env, scheme: 'http' }))
    assert.equal(seen[0], 'HEAD http://registry.invalid/v2/secure/none/manifests/1')
    await rejectsWith('unavailable', resolve(ctx, '127.0.0.1:1', { env }), /ECONNREFUSED/)
    assert.ok(seen.every((line) => line.includes('registry.invalid')))
    // A tunnel that is refused, and a proxy that is not there, are told from the registry's own trouble.
    const tunnel = { https_proxy: `127.0.0.1:${port}` }
    const refused = resolve(ctx, 'registry.invalid', { env: tunnel })
    await rejectsWith('unavailable', refused, /through the proxy 127\.0\.0\.1:\d+/)
    const gone = resolve(ctx, 'registry.invalid', { env: { https_proxy: '127.0.0.1:1' } })
    await rejectsWith('unavailable', gone, /through the proxy 127\.0\.0\.1:1 refuses connections/)
  })
})
