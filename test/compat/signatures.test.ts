import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtempDisposable, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { connect } from '#client/connect.ts'
import { peerDirectory } from '#testing/containerd.ts'
import { type Ran, run, startDaemon } from '#testing/daemon.ts'
import { DockerRegistry, lacksRegistry } from '#testing/docker-registry.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'

/*
 * Images that cosign and notation themselves have signed, in a registry without the API of referrers: the
 * policy lets those through, and the same image in repositories where nobody has signed it not.
 */

const cosign = join(peerDirectory, 'usr/bin/cosign')
const notation = join(peerDirectory, 'usr/bin/notation')
const lacking = existsSync(cosign) && existsSync(notation) ? undefined : 'no cosign or notation'
const skip = lacksRegistry ?? lacking ?? false

suite('signatures of cosign and notation', { skip }, () => {
  test('each is known by its rule, and none is good for another', async () => {
    await using scope = new AsyncDisposableStack()
    const dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'signatures-'))).path
    const registry = scope.use(await DockerRegistry.open())
    const names = ['bundle', 'simple', 'notation', 'unsigned'] as const
    const repositories = names.map((name) => `${registry.host}/${name}`)
    const image = await pushTo(repositories, dir)
    const signer = new Signer(dir)
    await signer.cosign(`${registry.host}/simple@${image}`, '--new-bundle-format=false')
    await signer.cosign(`${registry.host}/bundle@${image}`, '--new-bundle-format=true')
    const certificate = await signer.notation(`${registry.host}/notation@${image}`)

    const key = { type: 'cosign', keys: [join(dir, 'cosign.pub')], identity: 'any' }
    const authority = { type: 'notation', certificates: [certificate], identities: ['*'] }
    const pulled = async (trust: object): Promise<readonly string[]> =>
      await pullEach(repositories, trust)
    assert.deepEqual(await pulled(key), repositories.slice(0, 2))
    assert.deepEqual(await pulled(authority), repositories.slice(2, 3))
    await signer.newKey()
    assert.deepEqual(await pulled(key), [])
  })
})

/** Puts one image into several repositories. @returns its digest. */
async function pushTo(repositories: readonly string[], dir: string): Promise<string> {
  const archive = join(dir, 'image.tar')
  await writeImage(busyboxImage(), archive)
  for (const repository of repositories) {
    const to = `docker://${repository}:1`
    await succeed('skopeo', ['copy', '-q', '--dest-tls-verify=false', `oci-archive:${archive}`, to])
  }
  const about = ['inspect', '--tls-verify=false', '--format={{.Digest}}']
  const { stdout } = await succeed('skopeo', [...about, `docker://${repositories[0]}:1`])
  return stdout.trim()
}

/** Those of `repositories` that can be pulled from when all need the same signature. */
async function pullEach(
  repositories: readonly string[],
  trust: object,
): Promise<readonly string[]> {
  const rule = Object.entries({ images: repositories, ...trust })
    .map(([key, value]) => `${key} = ${JSON.stringify(value)}`)
    .join('\n')
  const policy = '[plugins."io.containerd.image-verifier.v1.policy"]\ndefault = "deny"'
  const table = '[[plugins."io.containerd.image-verifier.v1.policy".rules]]'
  await using daemon = await startDaemon({ config: `${policy}\n${table}\n${rule}` })
  await using client = await connect(daemon.address)
  const pulled: string[] = []
  for (const repository of repositories) {
    try {
      await client.images.pull(`${repository}:1`, { plainHttp: true })
      pulled.push(repository)
    } catch (err) {
      assert.match(String(err), /permission denied/)
    }
  }
  const listed = (await client.images.list()).map(({ name }) => name)
  assert.deepEqual(
    listed,
    pulled.map((repository) => `${repository}:1`),
  )
  return pulled
}

/** Signs with keys in a directory of its own. */
class Signer {
  readonly #dir: string
  readonly #env: NodeJS.ProcessEnv

  constructor(dir: string) {
    this.#dir = dir
    const own = { HOME: dir, XDG_CONFIG_HOME: dir, COSIGN_PASSWORD: 'secret' }
    this.#env = { ...process.env, ...own }
  }

  async newKey(): Promise<void> {
    const prefix = join(this.#dir, 'cosign')
    await rm(`${prefix}.key`, { force: true })
    await rm(`${prefix}.pub`, { force: true })
    await this.#run(cosign, 'generate-key-pair', '--output-key-prefix', prefix)
  }

  async cosign(image: string, ...options: readonly string[]): Promise<void> {
    if (!existsSync(join(this.#dir, 'cosign.key'))) await this.newKey()
    const offline = ['--tlog-upload=false', '--use-signing-config=false', '--allow-http-registry']
    const key = ['--key', join(this.#dir, 'cosign.key')]
    await this.#run(cosign, 'sign', '--yes', ...key, ...offline, ...options, image)
  }

  /** @returns the path of the certificate. */
  async notation(image: string): Promise<string> {
    await this.#run(notation, 'cert', 'generate-test', '--default', 'wharf.test')
    await this.#run(notation, 'sign', '--insecure-registry', '--signature-format=jws', image)
    return join(this.#dir, 'notation/localkeys/wharf.test.crt')
  }

  async #run(command: string, ...args: readonly string[]): Promise<void> {
    await succeed(command, args, this.#env)
  }
}

async function succeed(command: string, args: readonly string[], env = process.env): Promise<Ran> {
  const ran = await run(command, args, { env })
  assert.equal(ran.code, 0, `${command} ${args.join(' ')}:\n${ran.stdout}${ran.stderr}`)
  return ran
}
