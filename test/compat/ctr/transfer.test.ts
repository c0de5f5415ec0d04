import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'

import { RegistryClient } from '#core/remotes/client.ts'
import { parsePlatform } from '#core/platforms/platforms.ts'
import { newContext } from '#testing/context.ts'
import type { Ran } from '#testing/daemon.ts'
import { DockerRegistry, lacksRegistry } from '#testing/docker-registry.ts'
import { busyboxImage, busyboxLayer } from '#testing/image.ts'
import { pushManyPlatforms } from '#testing/many-platforms.ts'

import { type Pair, sideBySide } from './pair.ts'

/*
 * Images between registries, archives and daemons. `ctr` 2.x has the daemon move them unless it is given
 * --local; `ctr` 1.6 moves them itself. What is there afterwards must be the same, whoever did it.
 */

/** What a daemon has, to the last label. */
const everything = ['image ls', 'content ls', 'snapshot ls']

async function sameStores(pair: Pair): Promise<void> {
  // Both collect what nobody holds, each when it comes to it; now, when a lease is deleted so.
  for (const side of ['theirs', 'ours'] as const) {
    assert.equal((await pair.on(side, 'leases', 'create', '--id', 'collect')).code, 0)
    assert.equal((await pair.on(side, 'leases', 'delete', '--sync', 'collect')).code, 0)
  }
  await pair.all(...everything)
}

/** Takes every image away, and what they held. */
async function forget(pair: Pair, ...names: readonly string[]): Promise<void> {
  await pair.same(['image', 'rm', '--sync', ...names])
  assert.equal((await pair.ctr('content', 'ls', '-q')).stdout, '')
}

sideBySide(
  'transfers',
  (pair) => {
    const registries: DockerRegistry[] = []
    const [open, guarded] = [() => at(0), () => at(1)]
    const at = (index: number): DockerRegistry => {
      const registry = registries[index]
      assert.ok(registry, 'the registry did not start')
      return registry
    }
    const many = (): string => `${open().host}/test/many:1`
    const two = (registry: DockerRegistry): string => `${registry.host}/test/two:1`
    /** Each way this `ctr` has to move images. */
    const ways = (): readonly (readonly string[])[] =>
      pair().peer.major >= 2 ? [[], ['--local']] : [[]]

    before(async () => {
      registries.push(await DockerRegistry.open(), await DockerRegistry.open({ password: true }))
      const ctx = newContext({ signal: new AbortController().signal })
      await using remotes = new RegistryClient({ scheme: 'http' })
      const platforms = ['linux/amd64', 'linux/arm64', 'linux/arm/v7'].map(parsePlatform)
      await pushManyPlatforms(ctx, remotes, many(), platforms)
    })
    after(async () => {
      for (const registry of registries) await registry[Symbol.asyncDispose]()
    })

    const check = (title: string, body: (pair: Pair) => Promise<void>): void => {
      void test(title, { timeout: 180_000 }, async () => await body(pair()))
    }

    check('an image is pushed, pulled, and runs', async (p) => {
      for (const way of ways()) {
        const plain = [...way, '--plain-http']
        await p.import({
          ...busyboxImage(two(open())),
          layers: [busyboxLayer, { hello: 'from the registry\n' }],
        })
        await p.same(['image', 'push', ...plain, two(open())], { codeOnly: true })
        await forget(p, two(open()))
        const pulled = await p.same(['image', 'pull', ...plain, two(open())], { codeOnly: true })
        showsProgress(pulled)
        await sameStores(p)
        await p.same(['image', 'check'])
        await p.same(['run', '--rm', two(open()), 'p1', 'cat', '/hello'])
        await p.same(['image', 'pull', ...plain, two(open())], { codeOnly: true })
        await sameStores(p)
        await forget(p, two(open()))
      }
    })

    check('of an index, the platforms that are wanted are loaded', async (p) => {
      const wanted = [[], ['--platform', 'linux/arm64'], ['--all-platforms']]
      for (const way of ways()) {
        for (const platforms of wanted) {
          const args = ['image', 'pull', ...way, '--plain-http', ...platforms, many()]
          await p.same(args, { codeOnly: true })
          await sameStores(p)
          await forget(p, many())
        }
      }
    })

    check('labels and snapshotter are as asked for', async (p) => {
      for (const way of ways()) {
        // containerd's transfer service unpacks only where its configuration says.
        const byDaemon = p.peer.major >= 2 && way.length === 0
        const flags = ['--label', 'team=web', ...(byDaemon ? [] : ['--snapshotter', 'native'])]
        await p.same(['image', 'pull', ...way, ...flags, '--plain-http', many()], {
          codeOnly: true,
        })
        await p.all('image ls', 'content ls', 'snapshot --snapshotter native ls', 'snapshot ls')
        await forget(p, many())
      }
    })

    check('a registry that wants to know who one is gets to know it', async (p) => {
      const name = two(guarded())
      for (const way of ways()) {
        const plain = [...way, '--plain-http']
        await p.import(busyboxImage(name))
        const user = ['--user', 'user:s3cret-pass']
        for (const who of [[], ['--user', 'user:wrong-pass']]) {
          await p.same(['image', 'push', ...plain, ...who, name], { codeOnly: true })
        }
        await p.same(['image', 'push', ...plain, ...user, name], { codeOnly: true })
        await forget(p, name)
        for (const who of [[], ['--user', 'user:wrong-pass']]) {
          const refused = await p.same(['image', 'pull', ...plain, ...who, name], {
            codeOnly: true,
          })
          assert.equal(refused.code, 1)
          assert.doesNotMatch(refused.stderr + refused.stdout, /wrong-pass/)
        }
        await p.same(['image', 'pull', ...plain, ...user, name], { codeOnly: true })
        await sameStores(p)
        await forget(p, name)
      }
      assert.doesNotMatch(await p.ours.log(), /s3cret-pass|wrong-pass|dXNlcjpzM2NyZXQtcGFzcw/)
    })

    check('hosts.toml says where a registry is', async (p) => {
      await using dir = await mkdtempDisposable(join(tmpdir(), 'hosts-'))
      await mkdir(join(dir.path, 'images.test'))
      const hosts = `server = "http://${open().host}"\n`
      await writeFile(join(dir.path, 'images.test', 'hosts.toml'), hosts)
      for (const way of ways()) {
        const name = 'images.test/test/many:1'
        await p.same(['image', 'pull', ...way, '--hosts-dir', dir.path, name], { codeOnly: true })
        await sameStores(p)
        await forget(p, name)
      }
    })

    check('an image is tagged, exported, and imported again', async (p) => {
      for (const way of ways()) {
        await p.import(busyboxImage(two(open())))
        await p.same(['image', 'tag', ...way, two(open()), 'r.test/x:2'])
        const files = { theirs: join(p.theirs.dir, 'out.tar'), ours: join(p.ours.dir, 'out.tar') }
        for (const side of ['theirs', 'ours'] as const) {
          const args = ['image', 'export', ...way, files[side], two(open()), 'r.test/x:2']
          const { code, stdout, stderr } = await p.on(side, ...args)
          // What `ctr` says of its progress goes where an archive goes to \`-\`.
          assert.deepEqual([code, stdout], [0, ''], stderr)
        }
        assert.deepEqual(contentsOf(files.ours), contentsOf(files.theirs))
        await forget(p, two(open()), 'r.test/x:2')
        for (const side of ['theirs', 'ours'] as const) {
          const { code, stderr } = await p.on(side, 'image', 'import', ...way, files[side])
          assert.equal(code, 0, stderr)
        }
        await sameStores(p)
        await forget(p, two(open()), 'r.test/x:2')
      }
    })

    check('an archive for all platforms, and one for Docker', async (p) => {
      for (const way of ways()) {
        const pull = ['image', 'pull', ...way, '--plain-http', '--all-platforms', many()]
        await p.same(pull, { codeOnly: true })
        for (const flags of [
          ['--all-platforms'],
          ['--platform', 'linux/arm64'],
          ['--skip-manifest-json'],
        ]) {
          const files = { theirs: join(p.theirs.dir, 'out.tar'), ours: join(p.ours.dir, 'out.tar') }
          for (const side of ['theirs', 'ours'] as const) {
            const args = ['image', 'export', ...way, ...flags, files[side], many()]
            const { code, stderr } = await p.on(side, ...args)
            assert.equal(code, 0, stderr)
          }
          assert.deepEqual(contentsOf(files.ours), contentsOf(files.theirs))
        }
        await forget(p, many())
      }
    })

    check('what is missing is refused with the same code', async (p) => {
      for (const way of ways()) {
        const missing = `${open().host}/test/missing:1`
        for (const args of [
          ['image', 'pull', ...way, '--plain-http', missing],
          ['image', 'push', ...way, '--plain-http', missing],
          ['image', 'export', ...way, join(p.ours.dir, 'none.tar'), missing],
          ['image', 'pull', ...way, '--plain-http', '--platform', 'linux/s390x', many()],
        ]) {
          await p.same(args, { codeOnly: true })
        }
      }
    })
  },
  { skip: lacksRegistry },
)

/** The digest of every file of an archive, and of what is in the small ones. */
function contentsOf(file: string): readonly string[] {
  const names = execFileSync('tar', ['-tf', file], { encoding: 'utf8' }).split('\n').toSorted()
  const text = ['index.json', 'oci-layout', 'manifest.json']
    .filter((name) => names.includes(name))
    .map((name) => execFileSync('tar', ['-xOf', file, name], { encoding: 'utf8' }))
  return [...names, ...text]
}

/** The last picture that `ctr` drew has a line for each layer. */
function showsProgress({ stdout }: Ran): void {
  assert.match(stdout, /layer[ -](\(|sha256:)[0-9a-f]{12}/)
}
