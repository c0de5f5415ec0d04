import assert from 'node:assert/strict'
import { cp, mkdir, mkdtempDisposable, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'

import { packageRoot, packageVersion } from '#lib/release/release.ts'
import { containerd1 } from '#testing/containerd.ts'
import { run, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'

/*
 * A release, in another place than it was built for, and without this checkout's sources.
 */

const image = 'docker.io/library/busybox:latest'
const ctr = containerd1()?.ctr
const skip = process.getuid?.() !== 0 ? 'needs root' : ctr === undefined && 'needs ctr'

suite('a release', { skip }, () => {
  let daemon: TestDaemon
  let release: string
  const scope = new AsyncDisposableStack()

  before(async () => {
    const dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'wharf-release-')))
    const build = join(packageRoot, 'tools/build.ts')
    const args = ['--node', '--out', join(dir.path, 'built')]
    const built = await run(process.execPath, [build, ...args])
    assert.equal(built.code, 0, built.stderr)
    release = join(dir.path, 'copied')
    await cp(join(dir.path, 'built'), release, { recursive: true })
    const top = `plugin_dir = "${join(packageRoot, 'examples/plugins')}"`
    daemon = scope.use(await startDaemon({ program: join(release, 'bin/wharfd.mjs'), top }))
    await writeImage(busyboxImage(image), join(daemon.dir, 'image.tar'))
  })
  after(async () => await scope.disposeAsync())

  const ctrOf = async (...args: readonly string[]): Promise<string> => {
    const ran = await run(ctr ?? '', ['-a', daemon.address, ...args])
    assert.equal(ran.code, 0, `ctr ${args.join(' ')}: ${ran.stdout}${ran.stderr}`)
    return ran.stdout
  }

  test('unpacks an image, and runs a container with its own shim host', async () => {
    await ctrOf('image', 'import', join(daemon.dir, 'image.tar'))
    assert.equal(await ctrOf('run', '--rm', image, 'one', 'echo', 'hello'), 'hello\n')
    const hosts = await run('pgrep', ['-f', `${release}.*containerd-shim-wharf-v1`])
    assert.notEqual(hosts.stdout, '', 'no shim host of the release runs')
  })

  test('has no plugin that fails', async () => {
    const plugins = await ctrOf('plugins', 'ls')
    assert.doesNotMatch(plugins, /\berror\b/)
  })

  test('loads plugins of others, in TypeScript', async () => {
    assert.match(await ctrOf('plugins', 'ls'), /nosuid\s+\S+\s+ok/)
  })

  test('has the client for other programs', async () => {
    const script = `import { connect } from 'wharfd/client'
      await using client = await connect('${daemon.address}', { namespace: 'default' })
      console.log((await client.images.list()).map(({ name }) => name).join())`
    await mkdir(join(daemon.dir, 'node_modules'))
    await symlink(release, join(daemon.dir, 'node_modules/wharfd'))
    await writeFile(join(daemon.dir, 'program.mjs'), script)
    const ran = await run(process.execPath, [join(daemon.dir, 'program.mjs')])
    assert.equal(ran.stdout, `${image}\n`, ran.stderr)
  })

  test('has a daemon for other programs, with plugins of their own', async () => {
    const at = (name: string): string => join(daemon.dir, 'held', name)
    const script = `import { builtins, configure, createServer, definePlugin, InternalPlugin } from 'wharfd/daemon'
      const mine = definePlugin({ type: InternalPlugin, id: 'mine', init: () => console.log('mine') })
      const plugins = [...builtins, mine]
      const table = { version: 3, root: '${at('root')}', state: '${at('state')}',
        grpc: { address: '${at('d.sock')}' },
        plugins: { 'io.containerd.internal.v1.opt': { path: '${at('opt')}' } } }
      const log = { debug() {}, info() {}, warn: console.log, error: console.log, with: () => log }
      await using server = createServer(configure(table, plugins), { log })
      await server.start()
      const { connect } = await import('wharfd/client')
      await using client = await connect('${at('d.sock')}')
      console.log(await client.namespaces.list())`
    await mkdir(join(daemon.dir, 'node_modules'), { recursive: true })
    await symlink(release, join(daemon.dir, 'node_modules/wharfd')).catch(() => {})
    await writeFile(join(daemon.dir, 'holder.mjs'), script)
    const ran = await run(process.execPath, [join(daemon.dir, 'holder.mjs')])
    assert.equal(ran.stdout, 'mine\n[]\n', ran.stderr)
  })

  test('has the command line, which leaves a database alone that its daemon runs on', async () => {
    const meta = join(daemon.root, 'io.containerd.metadata.v1.bolt/meta.db')
    const ran = await run(join(release, 'bin/wharf.mjs'), ['doctor', 'db', meta])
    assert.equal(ran.code, 1)
    assert.match(ran.stderr, /meta\.db" is in use: stop the daemon/)
  })

  test('finds its Node, and says its version, however it is called', async () => {
    for (const name of ['wharf', 'wharfd', 'containerd-shim-wharf-v1']) {
      const env = { PATH: '/usr/bin:/bin' }
      const ran = await run(join(release, `bin/${name}.mjs`), ['-v'], { env })
      assert.equal(ran.code, 0, ran.stderr)
      assert.ok(ran.stdout.includes(packageVersion), ran.stdout)
    }
  })
})
