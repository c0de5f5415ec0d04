import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, type TestContext, test } from 'node:test'

import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes } from '#core/images/oci.ts'
import type { Credentials } from '#core/remotes/remotes.ts'
import type { ErrorCode } from '#lib/errors/errors.ts'
import type { RegistrySettings } from '#proxy/transfer/transfers.ts'
import { CertificateAuthority, type IssueOptions } from '#testing/certificates.ts'
import {
  DockerRegistry,
  type DockerRegistryOptions,
  lacksRegistry,
} from '#testing/docker-registry.ts'
import { type Handler, Hostile } from '#testing/hostile-registry.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { gzipLayer, ServedContent } from '#testing/served-image.ts'

import { pull, push, startTransferDaemon, type TransferDaemon } from './transfers.ts'

/*
 * What people read when a transfer fails: what was done with which image, which host said what, and what to do.
 * The table in docs/registries.md is this one.
 */

const skip = process.getuid?.() === 0 ? (lacksRegistry ?? false) : 'needs root'

suite('what goes wrong with a registry', { skip, timeout: 180_000 }, () => {
  const scope = new AsyncDisposableStack()
  let dir: string
  let ca: CertificateAuthority
  let given: TransferDaemon
  let plain: DockerRegistry
  let image: string
  let served: ServedContent
  let target: Descriptor

  before(async () => {
    dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'registries-'))).path
    ca = await CertificateAuthority.create(dir)
    given = scope.use(await startTransferDaemon())
    plain = scope.use(await DockerRegistry.open())
    served = new ServedContent()
    target = served.addImage([gzipLayer({ hello: Buffer.from('hello') })])
    image = `${plain.host}/team/app:latest`
    await served.publish(target, image)
    await pull({ signal: AbortSignal.timeout(60_000) }, given, { reference: image })
  })
  after(async () => await scope.disposeAsync())

  /** One row: what is done must fail so. */
  const row = (
    title: string,
    code: ErrorCode,
    message: RegExp,
    fail: (t: TestContext) => Promise<void>,
  ): void => {
    void test(title, { timeout: 60_000 }, async (t) => await rejectsWith(code, fail(t), message))
  }

  /** Pulls `path` of a registry that does as `handler`. */
  const from = async (t: TestContext, handler: Handler): Promise<void> => {
    await using registry = await Hostile.open(handler)
    await pull(t, given, { reference: `${registry.host}/team/app:1`, scheme: 'http' })
  }

  /** Pulls from one of docker, with what hosts.toml says of it. */
  const fromOwn = async (
    t: TestContext,
    options: DockerRegistryOptions,
    lines: string,
    credentials?: Credentials,
  ): Promise<void> => {
    await using registry = await DockerRegistry.open(options)
    const { host } = registry
    const hostsDir = join(dir, `hosts-${host.replace(':', '-')}`)
    await mkdir(join(hostsDir, host), { recursive: true })
    await writeFile(join(hostsDir, host, 'hosts.toml'), `server = "https://${host}"\n${lines}\n`)
    const settings: RegistrySettings = { reference: `${host}/team/app:latest`, hostsDir }
    await pull(t, given, { ...settings, ...(credentials && { credentials: () => credentials }) })
  }

  /** Pulls from one whose certificate is such a one. */
  const withCertificate = async (
    t: TestContext,
    issue: IssueOptions,
    lines = `ca = "${ca.cert}"`,
  ): Promise<void> => {
    const tls = await ca.issue(`server-${Math.random()}`, issue)
    await fromOwn(t, { tls }, lines)
  }
  const ownName = 'DNS:localhost,IP:127.0.0.1'

  row(
    'a misspelled repository',
    'not_found',
    /resolve "127\.\S+team\/ap:latest": host 127\.\S+ has no repository "team\/ap" .*check its spelling/,
    async (t) => await pull(t, given, { reference: `${plain.host}/team/ap:latest` }),
  )
  row(
    'an unknown tag',
    'not_found',
    /repository "team\/app" on host 127\.\S+ has no tag "lates" .*did you mean "latest"/,
    async (t) => await pull(t, given, { reference: `${plain.host}/team/app:lates` }),
  )
  row('no matching platform', 'not_found', /windows\/amd64/, async (t) => {
    const platform = { os: 'windows', architecture: 'amd64' }
    const index = served.addJson(mediaTypes.ociIndex, { manifests: [{ ...target, platform }] })
    await from(t, served.serving(index))
  })
  row(
    'a private image without credentials',
    'unauthenticated',
    /pull access denied, repository does not exist or may require authorization: host 127.* said: .*give credentials for 127/,
    async (t) => {
      await using registry = await DockerRegistry.open({ password: true })
      await pull(t, given, { reference: `${registry.host}/team/app:1` })
    },
  )
  row(
    'wrong credentials',
    'unauthenticated',
    /the credentials for 127\S+ were not accepted: host .*log in again/,
    async (t) => {
      await using registry = await DockerRegistry.open({ password: true })
      const credentials = { kind: 'password', username: 'user', secret: 'wrong-secret' } as const
      const reference = `${registry.host}/team/app:1`
      await pull(t, given, { reference, credentials: () => credentials })
    },
  )
  row(
    'an account that may not',
    'permission_denied',
    /push access denied: host 127\S+ said: status 403, DENIED: not yours; check the spelling/,
    async (t) => {
      await using registry = await Hostile.open((request, response) => {
        if (request.method === 'HEAD') return response.writeHead(404).end()
        const errors = [{ code: 'DENIED', message: 'not yours' }]
        return response.writeHead(403).end(JSON.stringify({ errors }))
      })
      await push(t, given, image, { reference: `${registry.host}/team/app:1`, scheme: 'http' })
    },
  )
  row(
    'a registry that is down',
    'unavailable',
    /resolve "127.*": host 127\S+ refuses connections \(ECONNREFUSED\); check that the registry runs/,
    async (t) => {
      const gone = await DockerRegistry.open()
      await gone[Symbol.asyncDispose]()
      await pull(t, given, { reference: `${gone.host}/team/app:1` })
    },
  )
  row(
    'a registry whose name is none',
    'unavailable',
    /no-such-host\.invalid is not a name that can be looked up .*check its spelling/,
    async (t) => await pull(t, given, { reference: 'no-such-host.invalid/team/app:1' }),
  )
  row(
    'a registry in trouble',
    'unavailable',
    /the registry has a problem of its own: host .* said: status 503, backend is away/,
    async (t) =>
      await from(t, (_request, response) => {
        response.writeHead(503, { 'retry-after': '0' }).end('backend is away')
      }),
  )
  row(
    'a certificate of an unknown authority',
    'failed_precondition',
    /certificate that nobody this machine trusts has signed .*put the CA into hosts\.toml/,
    async (t) => await withCertificate(t, { names: ownName }, ''),
  )
  row(
    'a certificate that has expired',
    'failed_precondition',
    /certificate that has expired .*have it renewed, or set this machine's clock/,
    async (t) => {
      await withCertificate(t, { names: ownName, valid: ['20200101000000Z', '20200201000000Z'] })
    },
  )
  row(
    "a clock that is behind, as a certificate's time tells",
    'failed_precondition',
    /certificate that is not valid yet .*set this machine's clock/,
    async (t) => {
      await withCertificate(t, { names: ownName, valid: ['20460101000000Z', '20470101000000Z'] })
    },
  )
  row(
    'a certificate for another name',
    'failed_precondition',
    /certificate for another name .*use a name that it is for/,
    async (t) => await withCertificate(t, { names: 'DNS:elsewhere.example' }),
  )
  row(
    'a registry that wants a client certificate',
    'failed_precondition',
    /refused the client certificate, or the lack of one .*set "client" in hosts\.toml/,
    async (t) => {
      const tls = await ca.issue('asks', { names: ownName })
      await fromOwn(t, { tls, clientCa: ca.cert }, `ca = "${ca.cert}"`)
    },
  )
  row(
    'a registry without TLS where TLS is configured',
    'failed_precondition',
    /does not speak TLS .*"http:\/\/" in hosts\.toml/,
    async (t) => await fromOwn(t, {}, ''),
  )
  row(
    'clocks that differ, as a signed address tells',
    'permission_denied',
    /storage behind the registry refuses: host 127\S+, to which 127\S+ redirects, said: status 403; .*its clock says/,
    async (t) => {
      const date = new Date(Date.now() - 3_600_000).toUTCString()
      await using storage = await Hostile.open((_request, response) => {
        response.writeHead(403, { date }).end()
      })
      const serve = served.serving(served.addImage([gzipLayer({ signed: Buffer.from('x') })]))
      await from(t, (request, response, path) => {
        if (path.includes('/manifests/')) serve(request, response, path)
        else response.writeHead(307, { location: `http://${storage.host}/x` }).end()
      })
    },
  )
  row(
    'a rate limit',
    'resource_exhausted',
    /rate limit reached: host .* said: status 429, TOOMANYREQUESTS: slow down; try again when it says \(Retry-After: 3600\), or log in/,
    async (t) =>
      await from(t, (_request, response) => {
        response.writeHead(429, { 'retry-after': '3600' })
        response.end('{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}')
      }),
  )
  row(
    'a layer that is not what its digest says',
    'failed_precondition',
    /fetch sha256:\w+ of "127\S+app:1": host 127\S+ sends something else, pull again; .*unexpected commit digest/,
    async (t) => {
      const content = new ServedContent()
      const fresh = content.addImage([gzipLayer({ corrupted: Buffer.from(String(Math.random())) })])
      const serve = content.serving(fresh)
      await from(t, (request, response, path) => {
        const layer = content.layerOf(fresh)
        if (!path.includes(layer.digest)) return serve(request, response, path)
        const bytes = Buffer.from(content.bytesOf(layer))
        bytes[20] = 255 - (bytes[20] ?? 0)
        return response.writeHead(200, { 'content-length': bytes.length }).end(bytes)
      })
    },
  )
  row(
    'a layer that is cut off, however often it is asked for',
    'unavailable',
    /fetch sha256:.* of "127.*": host 127\S+ (does not send all of it|ended the connection early).*try again/,
    async (t) => {
      const content = new ServedContent()
      const fresh = content.addImage([gzipLayer({ truncated: Buffer.from(String(Math.random())) })])
      const serve = content.serving(fresh)
      await from(t, (request, response, path) => {
        const layer = content.layerOf(fresh)
        if (!path.includes(layer.digest)) return serve(request, response, path)
        response.writeHead(200, { 'content-length': layer.size })
        return response.write('x', () => response.destroy())
      })
    },
  )
  row(
    'a push of something that is only partly here',
    'not_found',
    /also for linux\/s390x, and that part, sha256:\w+, is not here: pull it for all platforms/,
    async (t) => {
      const platform = { os: 'linux', architecture: 's390x' }
      const other = { ...target, digest: `sha256:${'0'.repeat(64)}`, platform }
      const index = served.addJson(mediaTypes.ociIndex, { manifests: [target, other] })
      await using registry = await Hostile.open(served.serving(index))
      const reference = `${registry.host}/team/part:1`
      await pull(t, given, { reference, scheme: 'http' })
      await push(t, given, reference, { reference: `${plain.host}/team/part:1` })
    },
  )
  row(
    'a push that is larger than a proxy takes',
    'resource_exhausted',
    /push sha256:.* to "127.*": it is larger than what is taken there: host .* said: status 413.*client_max_body_size/,
    async (t) => {
      await using registry = await Hostile.open((request, response) => {
        request.resume()
        if (request.method === 'HEAD') return response.writeHead(404).end()
        if (request.method === 'POST') return response.writeHead(202, { location: '/v2/u' }).end()
        return response.writeHead(413).end('<html>too large</html>')
      })
      await push(t, given, image, { reference: `${registry.host}/team/app:1`, scheme: 'http' })
    },
  )
  row(
    'a reference that is none',
    'invalid_argument',
    /invalid reference "https:\/\/x\/y".*leave out "https:\/\/"/,
    async (t) => await pull(t, given, { reference: 'https://x/y' }),
  )
  row(
    'something that answers no GET',
    'failed_precondition',
    /resolve "127.*": nothing can be pulled there: host .* said: status 405; check that the host is a registry/,
    async (t) => await from(t, (_request, response) => void response.writeHead(405).end()),
  )
  row(
    'a push to something that takes none',
    'failed_precondition',
    /push sha256:.* to "127.*": nothing can be pushed there: host .* said: status 405; push to the registry/,
    async (t) => {
      await using registry = await Hostile.open((request, response) => {
        request.resume()
        if (request.method === 'HEAD') return response.writeHead(404).end()
        if (request.method === 'POST') return response.writeHead(202, { location: '/v2/u' }).end()
        return response.writeHead(405).end()
      })
      await push(t, given, image, { reference: `${registry.host}/team/app:1`, scheme: 'http' })
    },
  )
  row(
    'something that is no registry',
    'unknown',
    /unexpected answer: host .* said: status 418.*check that the host is a registry/,
    async (t) => await from(t, (_request, response) => void response.writeHead(418).end()),
  )
})
