import assert from 'node:assert/strict'
import { mkdir, mkdtempDisposable, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { connect } from '#client/connect.ts'
import { writeBlob } from '#core/content/write-blob.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import { RemoteContentStore } from '#proxy/content.ts'
import { RemoteDiffer } from '#proxy/diff.ts'
import { everyContainerd } from '#testing/containerd.ts'
import { type DaemonOptions, run, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { newContext } from '#testing/context.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { root } from '#testing/root.ts'

const image = 'docker.io/library/busybox:latest'
const layerType = 'application/vnd.oci.image.layer.v1.tar'
const example = (name: string): string =>
  fileURLToPath(new URL(`../../examples/plugins/${name}`, import.meta.url))

interface Given {
  readonly daemon: TestDaemon
  readonly dir: string
  /** An image. */
  readonly archive: string
  /** Runs `ctr`; what it prints, or what it complains. */
  readonly ctr: (line: string) => Promise<string>
}

/** A daemon with `files` in its `plugin_dir`. */
async function loading(
  t: TestContext,
  files: Readonly<Record<string, string>>,
  options: (dir: string) => DaemonOptions,
  body: (given: Given) => Promise<void>,
): Promise<void> {
  const [go] = everyContainerd()
  if (!root(t)) return
  if (!go) return t.skip('no ctr')
  await using dir = await mkdtempDisposable(join(tmpdir(), 'plugins-'))
  const archive = join(dir.path, 'image.tar')
  await writeImage(busyboxImage(image), archive)
  const plugins = join(dir.path, 'plugins')
  for (const [name, text] of Object.entries(files)) {
    const path = join(plugins, name)
    await mkdir(join(path, '..'), { recursive: true })
    await writeFile(path, text)
  }
  const given = options(dir.path)
  const top = `plugin_dir = "${plugins}"\n${given.top ?? ''}`
  await using daemon = await startDaemon({ ...given, top })
  const ctr = async (line: string): Promise<string> => {
    const { stdout, stderr } = await run(go.ctr, ['-a', daemon.address, ...line.split(' ')])
    return stdout + stderr
  }
  await body({ daemon, dir: dir.path, archive, ctr })
}

/** A plugin that says something of itself, by which it is seen. */
const saying = (id: string, how = 'export const plugin ='): string => `
import { definePlugin, ApiPlugin } from 'wharfd/plugin'
${how} definePlugin({
  type: ApiPlugin,
  id: '${id}',
  config: { word: 'hello' },
  init: ({ config, meta }) => { meta.exports.said = config.word; return {} },
})
`

suite('plugins of others', () => {
  test('a snapshotter that wraps another is an example', async (t) => {
    const text = await readFile(example('nosuid-snapshotter.ts'), 'utf8')
    assert.ok(text.split('\n').length <= 60)
    await loading(
      t,
      { 'nosuid-snapshotter.ts': text },
      () => ({}),
      async ({ ctr, archive }) => {
        assert.match(await ctr(`images import --snapshotter nosuid ${archive}`), /unpacking/)
        const mounts = await ctr(`run --rm --snapshotter nosuid ${image} one cat /proc/mounts`)
        assert.match(mounts, /^overlay \/ overlay \S*nosuid/m)
        assert.equal(await ctr('snapshots ls'), 'KEY PARENT KIND \n')
        assert.match(await ctr('plugins ls -d id==nosuid'), /root\s+\S*nosuid/)
      },
    )
  })

  test('a stream processor that lets known layers through is an example', async (t) => {
    const path = example('verify-layer.ts')
    assert.ok((await readFile(path, 'utf8')).split('\n').length <= 60)
    const config = (dir: string): string => `
[stream_processors."example.verify"]
accepts = ["${layerType}+gzip"]
returns = "${layerType}"
path = "${process.execPath}"
args = ["${path}", "${join(dir, 'allowed')}"]
`
    await loading(
      t,
      {},
      (dir) => ({ config: config(dir) }),
      async ({ daemon, ctr, archive, dir }) => {
        const allowed = join(dir, 'allowed')
        await writeFile(allowed, 'sha256:0\n')
        assert.match(
          await ctr(`images import ${archive}`),
          /stream processor "example\.verify": exit status 1: layer sha256:\w+ is not allowed/,
        )
        assert.equal(await ctr('snapshots ls'), 'KEY PARENT KIND \n')
        const manifest = await layers(daemon)
        await writeFile(allowed, manifest.join('\n'))
        assert.match(await ctr(`images import ${archive}`), /unpacking.*\n?done/s)
        assert.equal(await ctr(`run --rm ${image} one echo hello`), 'hello\n')
      },
    )
  })

  test('modules and packages are loaded, configured, and named when they are broken', async (t) => {
    const files = {
      'a.mjs': saying('one'),
      'b.ts': saying('two', 'const made: object =').concat('export const plugins = [made]\n'),
      'c.js': saying('three'),
      'd.test.ts': 'throw new Error("a test is no plugin")',
      'bad-syntax.mjs': 'export const x = ',
      'bad-throw.mjs': 'throw new Error("not today")',
      'bad-types.ts': 'export const x = 1\nenum Y { Z }',
      'bad-nothing.mjs': 'export const x = 1',
      'bad-twice.mjs': saying('one'),
      'bad-builtin.mjs': saying('version'),
      'bad-import.mjs': 'import "no-such-package"',
      'notes.txt': 'nothing',
      'node_modules/packaged/package.json': '{"name":"packaged","exports":{"import":"./p.mjs"}}',
      'node_modules/packaged/p.mjs': saying('four'),
      'node_modules/bad-exports/package.json': '{"name":"bad-exports","exports":{"./x":"./x.mjs"}}',
    }
    const options = (): DaemonOptions => ({
      top: 'plugins_packages = ["packaged", "missing-package", "bad-exports"]',
      config: '[plugins."io.containerd.grpc.v1.two"]\nword = "bonjour"\n',
    })
    await loading(t, files, options, async ({ daemon, ctr }) => {
      for (const id of ['one', 'two', 'three', 'four']) {
        const listed = await ctr(`plugins ls -d id==${id}`)
        assert.match(listed, id === 'two' ? /said\s+bonjour/ : /said\s+hello/, id)
      }
      const log = await daemon.log()
      const failed = log.split('\n').filter((line) => line.includes('failed to load plugin module'))
      const reasons: readonly (readonly [string, RegExp])[] = [
        ['bad-syntax', /Unexpected end of input/],
        ['bad-throw', /not today.* at="?\S*bad-throw\.mjs:1\b/],
        ['bad-types', /enum.* at="?\S*bad-types\.ts:2\b/],
        ['bad-nothing', /exports no plugin made by definePlugin/],
        ['bad-twice', /grpc\.v1\.one: plugin: id already registered/],
        ['bad-builtin', /grpc\.v1\.version: plugin: id already registered/],
        ['bad-import', /no-such-package/],
        ['missing-package', /no such package in node_modules of \S*plugins, .*: not found/],
        ['bad-exports', /main defined in \S*bad-exports(?!.* at=)/],
      ]
      assert.equal(failed.length, reasons.length, failed.join('\n'))
      for (const [name, reason] of reasons) {
        const line = failed.find((each) => each.includes(name)) ?? ''
        assert.match(line, reason, name)
      }
      assert.ok(!log.includes('unknown key'), log)
    })
  })
})

test('an encrypted layer goes to the decoder that is configured from the start', async (t) => {
  if (!root(t)) return
  await using daemon = await startDaemon()
  await using connection = await connectGrpc(daemon.address)
  const ctx = newContext(t)
  const bytes = Buffer.from('secret')
  const digest = digestOf(bytes)
  const labels = { 'containerd.io/gc.root': 'yes' }
  const store = new RemoteContentStore(connection)
  await writeBlob(ctx, store, [bytes], { ref: 'x', digest, labels })
  const layer = { mediaType: `${layerType}+gzip+encrypted`, digest, size: bytes.length }
  const mounts = [{ type: 'bind', source: daemon.dir, options: ['rbind', 'rw'] }]
  await rejectsWith(
    'unknown',
    new RemoteDiffer(connection).apply(ctx, layer, mounts),
    'stream processor "io.containerd.ocicrypt.decoder.v1.tar.gzip": exec: "ctd-decoder": executable file not found in $PATH',
  )
})

/** The layers of the image, which has been imported. */
async function layers(daemon: TestDaemon): Promise<string[]> {
  await using client = await connect(daemon.address)
  const { target } = await client.images.get(image)
  const text = async (digest: string): Promise<unknown> =>
    JSON.parse(
      await readFile(
        join(daemon.root, 'io.containerd.content.v1.content/blobs', digest.replace(':', '/')),
        'utf8',
      ),
    )
  return digestsIn(await text(target.digest))
}

const digestsIn = (manifest: unknown): string[] =>
  [...JSON.stringify(manifest).matchAll(/sha256:[0-9a-f]{64}/g)].map(([digest]) => digest)
