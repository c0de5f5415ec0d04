import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { digestOf } from '#lib/digest/digest.ts'
import { containerd1, everyContainerd } from '#testing/containerd.ts'
import { type Ran, run, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { busyboxLayer, type ImageSource, writeImage } from '#testing/image.ts'

/*
 * `wharf doctor --repair --rebuild`: a store has lost its meta.db, and gets one that is made from
 * blobs and snapshots.
 */

const wharf = fileURLToPath(new URL('../../bin/wharf.mjs', import.meta.url))
const image = 'docker.io/library/lost:1'
const source: ImageSource = {
  name: image,
  gzip: true,
  layers: [busyboxLayer, { 'etc/first': 'first\n' }],
}
const lease = 'wharf-doctor-rebuilt'
const timeout = 180_000
const skip = process.getuid?.() === 0 && containerd1() ? false : 'needs root and ctr'

/** A store that a daemon has filled and left. */
class Store implements AsyncDisposable {
  readonly daemon: TestDaemon

  private constructor(daemon: TestDaemon) {
    this.daemon = daemon
  }

  static async open(options: Parameters<typeof startDaemon>[0]): Promise<Store> {
    const store = new Store(await startDaemon(options))
    const archive = join(store.daemon.dir, 'image.tar')
    await writeImage(source, archive)
    await store.ctr('image', 'import', archive)
    return store
  }

  async ctr(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await run('ctr', ['-a', this.daemon.address, ...args])
    assert.equal(code, 0, `ctr ${args.join(' ')}: ${stderr}`)
    return stdout
  }

  async list(...args: readonly string[]): Promise<readonly string[]> {
    return (await this.ctr(...args)).split('\n').filter(Boolean).toSorted()
  }

  /** What a container of an image reads, through a file: `ctr` opens no FIFO of one that has ended. */
  async cat(name: string, path: string): Promise<string> {
    const said = join(this.daemon.dir, 'said')
    fs.rmSync(said, { force: true })
    await this.ctr('run', '--rm', '--log-uri', `file://${said}`, name, 'run', 'cat', path)
    return fs.readFileSync(said, 'utf8')
  }

  async doctor(...args: readonly string[]): Promise<Ran> {
    const { root, state } = this.daemon
    return await run(process.execPath, [wharf, 'doctor', '--root', root, '--state', state, ...args])
  }

  /** Writes a blob as if it had been fetched. @returns its digest. */
  addBlob(content: string, digest = digestOf(content)): string {
    fs.writeFileSync(join(this.#blobs, digest.slice('sha256:'.length)), content)
    return digest
  }

  /** The manifest of the image: the one blob that lists layers. */
  get manifest(): { readonly digest: string; readonly size: number } {
    for (const name of fs.readdirSync(this.#blobs)) {
      const text = fs.readFileSync(join(this.#blobs, name), 'utf8')
      if (text.startsWith('{') && text.includes('"layers":[')) {
        return { digest: `sha256:${name}`, size: Buffer.byteLength(text) }
      }
    }
    throw new Error('there is no manifest')
  }

  get metadata(): string {
    return join(this.daemon.root, 'io.containerd.metadata.v1.bolt/meta.db')
  }

  get #blobs(): string {
    return join(this.daemon.root, 'io.containerd.content.v1.content/blobs/sha256')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.daemon[Symbol.asyncDispose]()
  }
}

/** Where what is written to a snapshot goes, by what `ctr` says of its mounts. */
const upperIn = (mounts: string): string => /upperdir=([^, ]+)/.exec(mounts)?.[1] ?? ''

/** What a daemon finds in a store whose meta.db was made anew, and what its collector leaves. */
async function assertUsable(store: Store, indexDigest: string, stray: string): Promise<void> {
  const nameless = `lost.invalid/image@${indexDigest}`
  assert.deepEqual(await store.list('image', 'ls', '-q'), [image, nameless].toSorted())
  assert.match(await store.ctr('image', 'check', `name==${image}`), /complete \(\d+\/\d+\) .* true/)
  await store.ctr('image', 'tag', nameless, 'docker.io/library/again:1')
  // Deleting anything wakes the collector.
  await store.ctr('leases', 'create', '--id', 'other')
  await store.ctr('leases', 'rm', '--sync', 'other')
  assert.deepEqual(await store.list('leases', 'ls', '-q'), [lease])
  for (const name of [image, 'docker.io/library/again:1']) {
    assert.equal(await store.cat(name, '/etc/first'), 'first\n')
  }
  const upper = upperIn(await store.ctr('snapshot', 'mounts', '/mnt', 'mine'))
  assert.equal(fs.readFileSync(join(upper, 'kept'), 'utf8'), 'kept')
  assert.ok((await store.list('content', 'ls', '-q')).includes(stray))

  await store.ctr('leases', 'rm', '--sync', lease)
  assert.equal(
    (await store.list('snapshot', 'ls')).find((each) => each.startsWith('mine')),
    undefined,
  )
  assert.ok(!(await store.list('content', 'ls', '-q')).includes(stray))
  assert.equal(await store.cat(image, '/etc/first'), 'first\n')
}

void suite('a store that has lost its meta.db', () => {
  for (const containerd of [undefined, ...everyContainerd()]) {
    const whose = containerd ? `containerd ${containerd.version}` : 'wharfd'
    void test(`of ${whose} gets one from what it has`, { timeout, skip }, async () => {
      await using store = await Store.open(containerd ? { containerd } : {})
      const top = (await store.ctr('snapshot', 'ls')).match(/^(sha256:\S+) +sha256:\S+/m)?.[1] ?? ''
      const mounts = await store.ctr(
        'snapshot',
        'prepare',
        '--mounts',
        '--target',
        '/mnt',
        'mine',
        top,
      )
      fs.writeFileSync(join(upperIn(mounts), 'kept'), 'kept')
      await store.daemon.stop()

      const mediaType = 'application/vnd.oci.image.manifest.v1+json'
      const { manifest } = store
      const annotations = { 'io.containerd.image.name': image }
      store.addBlob(JSON.stringify({ manifests: [{ mediaType, ...manifest, annotations }] }))
      const index = store.addBlob(JSON.stringify({ manifests: [{ mediaType, ...manifest }] }))
      const stray = store.addBlob('some text')
      store.addBlob('other text', digestOf('what it was'))
      fs.rmSync(store.metadata)
      fs.writeFileSync(`${store.metadata}.rebuilt`, 'of one that was cut off')

      const { code, stdout } = await store.doctor('--repair', '--rebuild', 'default')
      assert.match(stdout, /made anew in namespace default: 2 images, \d+ blobs, 3 snapshots/)
      assert.match(stdout, /is damaged: its bytes are of/)
      assert.equal(code, 0, stdout)
      assert.deepEqual(fs.readdirSync(join(store.metadata, '..')), ['meta.db'])
      const again = await store.doctor()
      assert.equal(again.code, 0, again.stdout)
      await store.daemon.start()
      await assertUsable(store, index, stray)
    })
  }

  void test('is only described without being asked for more', { timeout, skip }, async () => {
    await using store = await Store.open({})
    await store.daemon.stop()
    const refused = await store.doctor('--repair', '--rebuild', 'default')
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /there is a .*meta\.db: it is made anew only where it is missing/)
    fs.rmSync(store.metadata)
    const { code, stdout } = await store.doctor('--repair')
    assert.equal(code, 1)
    assert.match(stdout, /--repair --rebuild NAMESPACE makes a new file from blobs and snapshots/)
    assert.equal(fs.existsSync(store.metadata), false)
    const badName = await store.doctor('--repair', '--rebuild', 'no/namespace')
    assert.equal(badName.code, 1)
    assert.match(badName.stderr, /identifier "no\/namespace" must match/)
    for (const args of [
      ['--rebuild', 'x'],
      ['--repair', '--quick', '--rebuild', 'x'],
    ]) {
      assert.equal((await store.doctor(...args)).code, 2)
    }
    assert.equal(fs.existsSync(store.metadata), false)
  })
})
