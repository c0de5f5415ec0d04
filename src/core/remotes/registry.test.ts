import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { CertificateAuthority } from '#testing/certificates.ts'
import { DockerRegistry, lacksRegistry } from '#testing/docker-registry.ts'

import { RegistryClient } from './client.ts'
import { type OpenedRemotes, remotesSuite } from './testsuite.ts'

const retry = { firstWaitMs: 1 }

remotesSuite('a registry of docker, plain', lacksRegistry, async () => {
  const scope = new AsyncDisposableStack()
  const registry = scope.use(await DockerRegistry.open())
  const remotes = scope.use(new RegistryClient({ retry }))
  return opened(scope, remotes, registry.host)
})

remotesSuite(
  'a registry of docker, with certificates on both sides and a password',
  lacksRegistry,
  async () => {
    const scope = new AsyncDisposableStack()
    const dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'remotes-'))).path
    const ca = await CertificateAuthority.create(dir)
    const tls = await ca.issue('server', { names: 'IP:127.0.0.1' })
    const me = await ca.issue('me')
    const registry = scope.use(
      await DockerRegistry.open({ tls, clientCa: ca.cert, password: true }),
    )
    const { host } = registry
    await mkdir(join(dir, 'certs', host), { recursive: true })
    await writeFile(
      join(dir, 'certs', host, 'hosts.toml'),
      `server = "https://${host}"\nca = "${ca.cert}"\nclient = [["${me.cert}", "${me.key}"]]\n`,
    )
    const remotes = scope.use(
      new RegistryClient({
        hostsDirs: [join(dir, 'certs')],
        credentials: () => ({ kind: 'password', username: 'user', secret: 's3cret-pass' }),
        retry,
      }),
    )
    return opened(scope, remotes, host)
  },
)

const opened = (
  scope: AsyncDisposableStack,
  remotes: RegistryClient,
  host: string,
): OpenedRemotes => ({
  remotes,
  host,
  [Symbol.asyncDispose]: async () => await scope.disposeAsync(),
})
