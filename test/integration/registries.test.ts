import assert from 'node:assert/strict'
import { mkdir, mkdtempDisposable, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, type TestContext, test } from 'node:test'

import type { Descriptor } from '#core/images/images.ts'
import type { Credentials } from '#core/remotes/remotes.ts'
import { CertificateAuthority, type Certified } from '#testing/certificates.ts'
import { containerd2 } from '#testing/containerd.ts'
import { run } from '#testing/daemon.ts'
import {
  DockerRegistry,
  type DockerRegistryOptions,
  lacksRegistry,
} from '#testing/docker-registry.ts'
import { eventually } from '#testing/eventually.ts'
import { Hostile } from '#testing/hostile-registry.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { gzipLayer, ServedContent } from '#testing/served-image.ts'
import { TokenServer } from '#testing/token-server.ts'

import { pull, push, startTransferDaemon, type TransferDaemon } from './transfers.ts'

/*
 * Registries as people run them, with what hosts.toml says of each: an image goes there, and comes back.
 */

const skip = process.getuid?.() === 0 ? (lacksRegistry ?? false) : 'needs root'
const peer = containerd2()
const user: Credentials = { kind: 'password', username: 'user', secret: 's3cret-pass' }

suite('registries of all kinds', { skip, timeout: 180_000 }, () => {
  const scope = new AsyncDisposableStack()
  let dir: string
  let ca: CertificateAuthority
  let server: Certified
  let me: Certified
  let given: TransferDaemon
  let image: string
  let target: Descriptor

  before(async () => {
    dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'registries-'))).path
    ca = await CertificateAuthority.create(dir)
    server = await ca.issue('server', { names: 'IP:127.0.0.1' })
    me = await ca.issue('me')
    await mkdir(join(dir, 'certs'))
    const config = `[plugins."io.containerd.transfer.v1.local"]\nconfig_path = "${join(dir, 'certs')}"`
    given = scope.use(await startTransferDaemon({ config }))
    const content = new ServedContent()
    target = content.addImage([gzipLayer({ hello: Buffer.from('hello') })])
    await using origin = await Hostile.open(content.serving(target))
    image = `${origin.host}/origin/app:1`
    await pull({ signal: AbortSignal.timeout(60_000) }, given, { reference: image, scheme: 'http' })
  })
  after(async () => await scope.disposeAsync())

  /** Writes what there is to know of `registry`, where the daemon looks without being told. */
  async function configure(registry: string, toml: string, where = 'certs'): Promise<void> {
    await mkdir(join(dir, where, registry), { recursive: true })
    await writeFile(join(dir, where, registry, 'hosts.toml'), toml)
  }

  async function roundTrip(t: TestContext, host: string, credentials?: Credentials): Promise<void> {
    const reference = `${host}/team/app:1`
    const settings = { reference, ...(credentials && { credentials: () => credentials }) }
    await push(t, given, image, settings)
    await pull(t, given, settings)
    const { client } = given
    assert.deepEqual((await client.images.get(reference)).target, target)
    await client.images.delete(reference)
  }

  /** An image goes to such a registry of docker and comes back. */
  const check = (
    title: string,
    options: () => DockerRegistryOptions,
    hosts: (host: string) => string,
    credentials?: Credentials,
  ): void => {
    void test(title, async (t) => {
      await using registry = await DockerRegistry.open(options())
      await configure(registry.host, hosts(registry.host))
      await roundTrip(t, registry.host, credentials)
    })
  }
  const secure = (host: string): string => `server = "https://${host}"\nca = "${ca.cert}"\n`

  check(
    'plain HTTP',
    () => ({}),
    (host) => `server = "http://${host}"\n`,
  )
  check('TLS with an authority of its own', () => ({ tls: server }), secure)
  check(
    'TLS with certificates on both sides',
    () => ({ tls: server, clientCa: ca.cert }),
    (host) => `${secure(host)}client = [["${me.cert}", "${me.key}"]]\n`,
  )
  check('a password over TLS', () => ({ tls: server, password: true }), secure, user)

  test('tokens from a server of its own', async (t) => {
    await using tokens = await TokenServer.open(await ca.issue('signer'), (ask) => {
      if (ask.user !== 'user' || ask.secret !== 's3cret-pass') return undefined
      return { 'team/app': ['pull', 'push'], 'origin/app': ['pull'] }
    })
    const { realm, issuer } = tokens
    await using registry = await DockerRegistry.open({ token: { realm, issuer, ca: ca.cert } })
    await configure(registry.host, `server = "http://${registry.host}"\n`)
    await roundTrip(t, registry.host, user)
  })

  test('a mirror that fails, and the registry behind it', async (t) => {
    await using registry = await DockerRegistry.open()
    const { host } = registry
    await roundTrip(t, host)
    await using mirror = await Hostile.open((_request, response) => {
      response.writeHead(502).end()
    })
    await configure('reg.example', `server = "http://${host}"\n[host."http://${mirror.host}"]\n`)
    await pull(t, given, { reference: 'reg.example/team/app:1' })
    assert.ok(mirror.asked.every(({ url }) => url.includes('ns=reg.example')))
    assert.ok(mirror.asked.length > 0)
  })

  test('hosts.toml is read whenever an image is asked for, and a daemon that reloads goes on so', async (t) => {
    await using registry = await DockerRegistry.open({ tls: server })
    const { host } = registry
    const reference = `${host}/team/app:1`
    await configure(host, `server = "https://${host}"\n`)
    const unknown = /nobody this machine trusts/
    await rejectsWith('failed_precondition', push(t, given, image, { reference }), unknown)
    await configure(host, secure(host))
    await push(t, given, image, { reference })
    given.daemon.process.kill('SIGHUP')
    await pull(t, given, { reference })
    await configure(host, `server = "https://${host}"\n`)
    await rejectsWith('failed_precondition', pull(t, given, { reference }), unknown)
    await configure(host, 'server = ')
    await rejectsWith('invalid_argument', pull(t, given, { reference }), /hosts\.toml/)
  })

  test('another directory of hosts.toml files counts from SIGHUP on', async (t) => {
    await using registry = await DockerRegistry.open({ tls: server })
    const reference = `${registry.host}/team/app:1`
    await configure(registry.host, secure(registry.host))
    await push(t, given, image, { reference })
    const place = (path: string): string =>
      `[plugins."io.containerd.transfer.v1.local"]\nconfig_path = "${path}"\n`
    await configure(registry.host, `server = "https://${registry.host}"\n`, 'other')
    const [earlier, later] = [place(join(dir, 'other')), place(join(dir, 'certs'))]
    await using own = await startTransferDaemon({ config: earlier })
    const unknown = /nobody this machine trusts/
    await rejectsWith('failed_precondition', pull(t, own, { reference }), unknown)
    const file = join(own.daemon.dir, 'config.toml')
    await writeFile(file, (await readFile(file, 'utf8')).replace(earlier, later))
    own.daemon.process.kill('SIGHUP')
    const said = await eventually(async () =>
      /configuration reloaded.*/.exec(await own.daemon.log())?.at(0),
    )
    assert.match(said, /applied=\S*config_path.*restart=/)
    await pull(t, own, { reference })
    assert.deepEqual((await own.client.images.get(reference)).target, target)
  })

  test('the same by ctr', { skip: peer ? false : 'there is no containerd 2.x' }, async () => {
    await using registry = await DockerRegistry.open({ tls: server, password: true })
    const reference = `${registry.host}/team/app:1`
    await configure(registry.host, secure(registry.host))
    const ctr = async (...args: readonly string[]): Promise<void> => {
      const at = ['-a', given.daemon.address, '-n', 'testing']
      const ran = await run(peer?.ctr ?? '', [...at, 'image', ...args])
      assert.equal(ran.code, 0, ran.stdout + ran.stderr)
    }
    const as = ['--user', 'user:s3cret-pass']
    await ctr('push', ...as, reference, image)
    await ctr('pull', ...as, reference)
    assert.deepEqual((await given.client.images.get(reference)).target, target)
  })
})
