import assert from 'node:assert/strict'
import { mkdir, mkdtempDisposable, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { RegistryClient } from '#core/remotes/client.ts'
import { packageRoot } from '#lib/release/release.ts'
import { containerd1, containerd2 } from '#testing/containerd.ts'
import { newContext } from '#testing/context.ts'
import { type Ran, run, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { DockerRegistry, lacksRegistry } from '#testing/docker-registry.ts'
import { eventually } from '#testing/eventually.ts'
import { writeImage } from '#testing/image.ts'
import { pushCosigned, pushSmallImage } from '#testing/push-signed.ts'
import { newKeys, writePublicKey } from '#testing/signers.ts'

/*
 * A daemon with a policy, and those who want images past it: pulls by the daemon, pulls by clients that do
 * it themselves, imports, tags, and the daemon that is told another policy.
 */

const peer = containerd2()
const old = containerd1()
const lacks =
  process.getuid?.() === 0
    ? (lacksRegistry ?? (peer ? undefined : 'no containerd 2'))
    : 'needs root'
const keys = newKeys.p256()
const section = '[plugins."io.containerd.image-verifier.v1.policy"]'

void suite('a daemon with an image policy', { skip: lacks ?? false }, () => {
  const scope = new AsyncDisposableStack()
  let daemon: TestDaemon
  let remotes: RegistryClient
  let dir = ''
  let host = ''
  let key = ''
  before(async () => {
    dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'verification-'))).path
    host = scope.use(await DockerRegistry.open()).host
    remotes = scope.use(new RegistryClient({ retry: { firstWaitMs: 1 } }))
    key = writePublicKey(dir, 'cosign.pub', keys)
    daemon = scope.use(await startDaemon({ config: policy(true) }))
  })
  after(async () => await scope.disposeAsync())

  const policy = (enforced: boolean): string =>
    `${section}
default = "allow"
enforce_on_image_create = ${enforced}
[[plugins."io.containerd.image-verifier.v1.policy".rules]]
name = "signed"
images = ["${host}/signed/**"]
type = "cosign"
keys = ["${key}"]
`

  const ctr = async (ours: string | undefined, ...args: string[]): Promise<Ran> =>
    await run(ours ?? 'ctr', ['-a', daemon.address, 'image', ...args])

  const pull = async (name: string, ...flags: string[]): Promise<Ran> =>
    await ctr(peer?.ctr, 'pull', '--plain-http', ...flags, name)

  /** Gives an image another name: the daemon does it, or `ctr` with `--local`. */
  const tag = async (name: string, other: string, ...flags: string[]): Promise<Ran> =>
    await ctr(peer?.ctr, 'tag', ...flags, name, other)

  /** An image in the registry, signed for the repository it is in. */
  async function signed(ctx: Context, repository: string): Promise<Descriptor> {
    const target = await pushSmallImage(ctx, remotes, `${repository}:1`)
    await pushCosigned(ctx, remotes, repository, { digest: target.digest, repository, keys })
    return target
  }

  const isThere = async (name: string): Promise<boolean> =>
    (await ctr(peer?.ctr, 'ls', '-q')).stdout.split('\n').includes(name)

  async function told(config: string): Promise<void> {
    const path = join(daemon.dir, 'config.toml')
    const text = await readFile(path, 'utf8')
    await writeFile(path, `${text.slice(0, text.indexOf(section))}${config}`)
    const reloads = async (): Promise<number> =>
      (await daemon.log()).split('configuration reloaded').length
    const count = await reloads()
    daemon.process.kill('SIGHUP')
    await eventually(async () => (await reloads()) > count || undefined)
  }

  void test('pulls what is signed, and nothing of what is not', async (t) => {
    const ctx = newContext(t)
    const good = `${host}/signed/good`
    await signed(ctx, good)
    const bad = `${host}/signed/bad`
    await pushSmallImage(ctx, remotes, `${bad}:1`)
    await pushSmallImage(ctx, remotes, `${host}/other:1`)
    const refused = await pull(`${bad}:1`)
    assert.equal(refused.code, 1)
    assert.match(
      refused.stderr,
      /image verifier policy blocked pull of \S+\/signed\/bad:1 with digest/,
    )
    assert.match(refused.stderr, /rule "signed" asks for a cosign signature .*; found no cosign/)
    assert.ok(!(await isThere(`${bad}:1`)))
    const { code, stderr } = await pull(`${good}:1`)
    assert.equal(code, 0, stderr)
    assert.ok(await isThere(`${good}:1`))
    assert.equal((await pull(`${host}/other:1`)).code, 0)
  })

  void test('does not let clients name what it has not verified', async (t) => {
    const ctx = newContext(t)
    const name = `${host}/signed/by-clients:1`
    await signed(ctx, `${host}/signed/by-clients`)
    // Both generations fetch and create the image themselves.
    const clients = [
      await pull(name, '--local'),
      ...(old ? [await ctr(old.ctr, 'pull', '--plain-http', name)] : []),
    ]
    for (const { code, stderr } of clients) {
      assert.equal(code, 1)
      assert.match(stderr, /no pull by the daemon has verified one for/)
      assert.match(stderr, /permission denied/i)
    }
    assert.ok(!(await isThere(name)))
    assert.equal((await pull(name)).code, 0)
    for (const local of [await pull(name, '--local')]) assert.equal(local.code, 0, local.stderr)
  })

  void test('does not let tags and imports pass by', async (t) => {
    const ctx = newContext(t)
    await pushSmallImage(ctx, remotes, `${host}/unsigned:1`)
    assert.equal((await pull(`${host}/unsigned:1`)).code, 0)
    const respelled = host.replace('127.0.0.1', '0x7f.1')
    for (const spelling of [`${host}/signed/app:1`, `${respelled}/signed/app`]) {
      for (const flags of [[], ['--local']]) {
        const { code, stderr } = await tag(`${host}/unsigned:1`, spelling, ...flags)
        assert.equal(code, 1, `${spelling} ${flags.join()}`)
        assert.match(stderr, /no pull by the daemon has verified one for \S+\/signed\/app/)
      }
    }
    const file = join(dir, 'image.tar')
    const name = `${host}/signed/imported:1`
    await writeImage({ name, layers: [{ 'a/file': 'text' }] }, file)
    for (const flags of [[], ['--local']]) {
      const { code, stderr } = await ctr(peer?.ctr, 'import', ...flags, file)
      assert.equal(code, 1, flags.join())
      assert.match(stderr, /no pull by the daemon has verified one for/)
    }
    assert.ok(!(await isThere(name)))
  })

  void test('remembers over a restart, and is told another policy', async (t) => {
    const ctx = newContext(t)
    const name = `${host}/signed/kept:1`
    await signed(ctx, `${host}/signed/kept`)
    assert.equal((await pull(name)).code, 0)
    await daemon.stop('SIGKILL')
    await daemon.start()
    const again = `${host}/signed/kept:again`
    assert.equal((await tag(name, again)).code, 0)
    assert.equal((await tag(name, `${host}/signed/x:1`)).code, 1)
    await told(policy(false))
    assert.equal((await tag(name, `${host}/signed/x:1`)).code, 0)
    await told(`${section}\ndefault = "deny"\n`)
    const { code, stderr } = await pull(name)
    assert.equal(code, 1)
    assert.match(stderr, /no rule is about it, and the default is to deny/)
    await told(policy(true))
    assert.equal((await pull(name)).code, 0)
  })

  void test('answers the command line the same, without being asked', async (t) => {
    const ctx = newContext(t)
    const repository = `${host}/signed/asked`
    const { digest } = await signed(ctx, repository)
    await pushSmallImage(ctx, remotes, `${host}/signed/unsigned:1`)
    const config = join(dir, 'config.toml')
    await writeFile(config, policy(true))
    const wharf = async (...args: string[]): Promise<Ran> =>
      await run(process.execPath, [join(packageRoot, 'bin/wharf.mjs'), 'image', 'verify', ...args])
    for (const flags of [
      ['--config', config],
      ['--key', key],
    ]) {
      const good = await wharf(`${repository}:1`, ...flags, '--json')
      assert.equal(good.code, 0, good.stderr)
      const answer: unknown = JSON.parse(good.stdout)
      assert.ok(typeof answer === 'object' && answer !== null && 'reason' in answer)
      assert.match(String(answer.reason), /signed with the key in/)
      assert.deepEqual(answer, { name: `${repository}:1`, digest, ok: true, reason: answer.reason })
      const bad = await wharf(`${host}/signed/unsigned:1`, ...flags)
      assert.deepEqual([bad.code, bad.stderr], [1, ''])
      assert.match(bad.stdout, /found no cosign signature/)
    }
    const other = writePublicKey(dir, 'other.pub', newKeys.p256())
    assert.equal((await wharf(`${repository}:1`, '--key', other)).code, 1)
    assert.equal((await wharf(`${repository}:1`, '--key', other, '--key', key)).code, 0)
    const elsewhere = await wharf(`${repository}:1`, '--key', key, '--repository', 'docker.io/a/b')
    assert.equal(elsewhere.code, 1)
    for (const [flags, why] of [
      [['--key', key, '--certificate', key], /two rules; give one/],
      [['--config', join(dir, 'none')], /ENOENT/],
      [['--key', join(dir, 'none')], /cannot be read/],
    ] as const) {
      const { code, stderr } = await wharf(`${repository}:1`, ...flags)
      assert.equal(code, 1)
      assert.match(stderr, why)
    }
  })

  void test('pulls nothing when a verifier has not started, or a program says no', async (t) => {
    const ctx = newContext(t)
    const name = `${host}/plain/app:1`
    await pushSmallImage(ctx, remotes, name)
    const plugins = join(dir, 'plugins')
    const programs = join(dir, 'programs')
    await mkdir(plugins)
    await mkdir(programs)
    await writeFile(join(plugins, 'broken.mjs'), brokenVerifier)
    await using other = await startDaemon({
      top: `plugin_dir = "${plugins}"`,
      config: `[plugins."io.containerd.image-verifier.v1.bindir"]\nbin_dir = "${programs}"\n`,
    })
    const pulled = async (): Promise<Ran> =>
      await run(peer?.ctr ?? 'ctr', ['-a', other.address, 'image', 'pull', '--plain-http', name])
    const broken = await pulled()
    assert.equal(broken.code, 1)
    assert.match(broken.stderr, /verifier broken blocked .*it has not started.*its key is gone/)
    await other.stop()
    await rm(join(plugins, 'broken.mjs'))
    await other.start()
    assert.equal((await pulled()).code, 0)
    const program = join(programs, 'no')
    await writeFile(program, '#!/bin/sh\necho "$2 is not for us"; exit 7\n', { mode: 0o755 })
    const refused = await pulled()
    assert.equal(refused.code, 1)
    assert.match(
      refused.stderr,
      /verifier no rejected image \(exit code 7\): \S+\/plain\/app:1 is not for us/,
    )
  })
})

const brokenVerifier = `
import { definePlugin, ImageVerifierPlugin } from 'wharfd/plugin'
export const plugin = definePlugin({
  type: ImageVerifierPlugin,
  id: 'broken',
  init() { throw new Error('its key is gone') },
})
`
