import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { after, before, suite, type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { readText } from '#core/metadata/fields.ts'
import { blobsOf, find, imagesOf } from '#core/metadata/schema.ts'
import { listSnapshots } from '#core/snapshots/storage/storage.ts'
import type { Finding, StoreReport } from '#doctor/finding.ts'
import { findPlaces } from '#doctor/places.ts'
import { examineStore, type StoreOptions } from '#doctor/store.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { type Containerd, containerd1, everyContainerd } from '#testing/containerd.ts'
import { type Ran, run, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { eventually } from '#testing/eventually.ts'
import { busyboxLayer, type ImageSource, writeImage } from '#testing/image.ts'

/*
 * `wharf doctor store` on stores of real daemons. test/soak/doctor.test.ts damages everything at once;
 * here is what it says and does of single things.
 */

const wharf = fileURLToPath(new URL('../../bin/wharf.mjs', import.meta.url))
const image = 'docker.io/library/doctored:1'
const source: ImageSource = {
  name: image,
  gzip: true,
  layers: [
    busyboxLayer,
    { 'etc/first': 'first\n', 'etc/gone': 'gone\n', 'hidden/a': 'a' },
    { 'etc/second': 'second\n', 'etc/.wh.gone': '', 'hidden/.wh..wh..opq': '', 'hidden/b': 'b' },
  ],
}
const timeout = 120_000
const skip = process.getuid?.() === 0 && containerd1() ? false : 'needs root and ctr'

/** A daemon with the image in it, and how to talk to both programs. */
class Ward implements AsyncDisposable {
  readonly daemon: TestDaemon
  readonly snapshotter: 'overlayfs' | 'native'

  private constructor(daemon: TestDaemon, snapshotter: 'overlayfs' | 'native') {
    this.daemon = daemon
    this.snapshotter = snapshotter
  }

  static async open(
    snapshotter: 'overlayfs' | 'native' = 'overlayfs',
    containerd?: Containerd,
  ): Promise<Ward> {
    const ward = new Ward(await startDaemon(containerd ? { containerd } : {}), snapshotter)
    await writeImage(source, join(ward.daemon.dir, 'image.tar'))
    await ward.import()
    return ward
  }

  async import(): Promise<void> {
    const archive = join(this.daemon.dir, 'image.tar')
    await this.ctr('image', 'import', '--snapshotter', this.snapshotter, archive)
  }

  /** Runs `ctr`, which must succeed. */
  async ctr(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await run('ctr', ['-a', this.daemon.address, ...args])
    assert.equal(code, 0, `ctr ${args.join(' ')}: ${stderr}`)
    return stdout
  }

  async doctor(...args: readonly string[]): Promise<Ran> {
    const { root, state } = this.daemon
    const places = ['--root', root, '--state', state]
    return await run(process.execPath, [wharf, 'doctor', 'store', ...places, ...args])
  }

  /** What the doctor finds, asked in this process. */
  async examine(options: Partial<StoreOptions> = {}): Promise<StoreReport> {
    const defaults = { repair: false, quick: false, dropBrokenImages: false }
    const signal = AbortSignal.timeout(timeout)
    return await examineStore(findPlaces(this.daemon), { ...defaults, ...options, signal })
  }

  /** What it finds when asked to repair. */
  async repair(options: Partial<StoreOptions> = {}): Promise<StoreReport> {
    return await this.examine({ ...options, repair: true })
  }

  async assertSound(): Promise<void> {
    const { findings, sound } = await this.examine()
    assert.deepEqual([findings.filter(({ level }) => level !== 'note'), sound], [[], true])
  }

  get backend(): string {
    return join(this.daemon.root, `io.containerd.snapshotter.v1.${this.snapshotter}`)
  }

  get blobs(): string {
    return join(this.daemon.root, 'io.containerd.content.v1.content/blobs/sha256')
  }

  get metadata(): string {
    return join(this.daemon.root, 'io.containerd.metadata.v1.bolt/meta.db')
  }

  /** Where the files of the image's layers are, from the bottom up. */
  async layers(): Promise<readonly string[]> {
    await using database = await openDatabase(join(this.backend, 'metadata.db'), { readOnly: true })
    const committed = database
      .view((tx) => [...listSnapshots(tx)])
      .filter(({ info }) => info.kind === 'committed')
      .toSorted((a, b) => Number(a.id) - Number(b.id))
    const files = this.snapshotter === 'overlayfs' ? 'fs' : ''
    return committed.map(({ id }) => join(this.backend, 'snapshots', id, files))
  }

  /** The files of the blobs of the image: manifest, config, layers. */
  async parts(): Promise<readonly string[]> {
    await using database = await openDatabase(this.metadata, { readOnly: true })
    const target = database.view((tx) => {
      const bucket = find(tx, [...imagesOf('default'), image, 'target'])
      return bucket ? readText(bucket, 'digest') : ''
    })
    const manifest = join(this.blobs, target.slice('sha256:'.length))
    const text = fs.readFileSync(manifest, 'utf8')
    const digests = [...text.matchAll(/sha256:([0-9a-f]{64})/g)]
    return [manifest, ...digests.map(([, hex = '']) => join(this.blobs, hex))]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.daemon[Symbol.asyncDispose]()
  }
}

const kinds = ({ findings }: StoreReport): readonly string[] =>
  findings.filter(({ level }) => level !== 'note').map(({ kind }) => kind)

function only({ findings }: StoreReport, kind: Finding['kind']): Finding {
  const [first, ...others] = findings.filter((finding) => finding.kind === kind)
  assert.ok(first && others.length === 0, `${findings.length} findings`)
  return first
}

const empty = (path: string): void => {
  const { atime, mtime } = fs.statSync(path)
  fs.truncateSync(path, 0)
  fs.utimesSync(path, atime, mtime)
}

/** Everything below `dir` as it is now: names, sizes, times. */
function print(dir: string): readonly string[] {
  return fs.readdirSync(dir, { recursive: true, encoding: 'utf8' }).map((name) => {
    const { mode, size, mtimeMs, ctimeMs } = fs.lstatSync(join(dir, name))
    return [name, mode, size, mtimeMs, ctimeMs].join(' ')
  })
}

void suite('wharf doctor store', { skip, timeout }, () => {
  let ward: Ward
  before(async () => {
    ward = await Ward.open()
    await ward.ctr('container', 'create', image, 'stopped')
    await ward.daemon.stop()
  })
  after(async () => await ward?.[Symbol.asyncDispose]())

  const check = (title: string, body: (t: TestContext) => Promise<void>): void => {
    void test(title, { timeout }, body)
  }

  check('finds nothing wrong with a store that is sound, and writes nothing', async () => {
    const printed = print(ward.daemon.root)
    await ward.assertSound()
    assert.deepEqual(print(ward.daemon.root), printed)
    const { code, stdout } = await ward.doctor()
    assert.equal(code, 0)
    assert.match(stdout, /is sound\nlooked at 1 images, 1 containers, 4 snapshots, /)
  })

  check('says what is wrong, where, what follows, and what to do', async () => {
    const [, second = ''] = await ward.layers()
    empty(join(second, 'etc/first'))
    const printed = print(ward.daemon.root)
    const { code, stdout } = await ward.doctor()
    assert.deepEqual([code, print(ward.daemon.root)], [1, printed])
    assert.match(
      stdout,
      /^error {4}a layer of .*doctored:1 is not what was unpacked: 1 of \d+ files/m,
    )
    assert.match(stdout, /- etc\/first: 0 bytes instead of 6/)
    assert.match(stdout, /to do .*--repair/)
    const { stdout: json } = await ward.doctor('--json')
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- its own form
    const report = JSON.parse(json) as StoreReport
    assert.equal(report.format, 1)
    assert.deepEqual(only(report, 'layer-damaged').details, ['etc/first: 0 bytes instead of 6'])
    const repaired = await ward.doctor('--repair')
    assert.equal(repaired.code, 0)
    assert.match(repaired.stdout, /done .*unpacked again/)
    assert.match(repaired.stdout, /is sound, 1 repaired/)
    await ward.assertSound()
    assert.equal(fs.readFileSync(join(second, 'etc/first'), 'utf8'), 'first\n')
  })

  check('does not look into files when it is to be quick', async () => {
    const [first = ''] = await ward.layers()
    const { mtime } = fs.statSync(join(first, 'etc/passwd'))
    fs.writeFileSync(join(first, 'etc/passwd'), 'other')
    fs.utimesSync(join(first, 'etc/passwd'), mtime, mtime)
    assert.deepEqual(kinds(await ward.examine({ quick: true })), [])
    assert.deepEqual(kinds(await ward.repair()), ['layer-damaged'])
    fs.rmSync(join(first, '..'), { recursive: true })
    assert.deepEqual(kinds(await ward.examine({ quick: true })), ['snapshot-directory-missing'])
    await ward.repair({ quick: true })
    await ward.assertSound()
  })

  check('has a damaged blob fetched again before it repairs a layer from it', async () => {
    const [, , , blob = ''] = await ward.parts()
    const [, second = ''] = await ward.layers()
    fs.truncateSync(blob, 100)
    empty(join(second, 'etc/first'))
    const report = await ward.repair()
    const { advice, outcome } = only(report, 'blob-damaged')
    assert.match(advice, /ctr -n default content fetch docker.io\/library\/doctored:1/)
    assert.equal(outcome?.repaired, false)
    assert.match(only(report, 'layer-unverifiable').what, /not sound/)
    assert.equal(fs.readdirSync(join(ward.daemon.root, 'lost+found/blobs/sha256')).length, 1)
    await ward.daemon.start()
    await ward.import()
    await ward.daemon.stop()
    const healed = await ward.repair()
    assert.deepEqual(kinds(healed), ['layer-damaged'])
    await ward.assertSound()
    await ward.daemon.start()
    assert.equal(await ward.ctr('run', '--rm', image, 'healed', 'cat', '/etc/first'), 'first\n')
    await ward.daemon.stop()
  })

  check('records a blob again that an image needs, and with it what that holds', async () => {
    const [manifest = '', config = ''] = await ward.parts()
    const digests = [manifest, config].map((path) => `sha256:${path.slice(ward.blobs.length + 1)}`)
    const labels = await labelsOf(ward, digests)
    {
      await using database = await openDatabase(ward.metadata)
      await database.update((tx) => {
        for (const digest of digests) find(tx, blobsOf('default'))?.deleteBucket(digest)
      })
    }
    assert.deepEqual(kinds(await ward.repair()), ['blob-lost', 'blob-lost'])
    await ward.assertSound()
    const again = await labelsOf(ward, digests)
    for (const [key, value] of Object.entries(labels)) {
      if (key.includes('gc.ref')) assert.equal(again[key], value, key)
    }
    await ward.daemon.start()
    // A synchronous collection takes whatever nothing holds.
    await ward.ctr('leases', 'create', '--id', 'sync')
    await ward.ctr('leases', 'rm', '--sync', 'sync')
    assert.equal(await ward.ctr('run', '--rm', image, 'held', 'cat', '/etc/second'), 'second\n')
    await ward.daemon.stop()
  })

  check('removes the name of an image that is not whole only when told to', async () => {
    const [manifest = ''] = await ward.parts()
    const bytes = fs.readFileSync(manifest)
    fs.rmSync(manifest)
    const report = await ward.repair()
    assert.match(
      only(report, 'image-incomplete').advice,
      /ctr -n default image pull docker.io\/library\/doctored:1, or .* --drop-broken-images/,
    )
    assert.equal(only(report, 'blob-missing').outcome?.repaired, true)
    assert.deepEqual(kinds(await ward.repair({ dropBrokenImages: true })), ['image-incomplete'])
    assert.deepEqual(kinds(await ward.examine()), [])
    await ward.daemon.start()
    assert.equal(await ward.ctr('image', 'ls', '-q'), '')
    assert.ok(bytes.length > 0)
    await ward.import()
    await ward.daemon.stop()
    await ward.assertSound()
  })

  check(
    'leaves everything alone that it cannot tell from garbage without the records',
    async () => {
      const saved = fs.readFileSync(ward.metadata)
      fs.writeFileSync(ward.metadata, Buffer.alloc(saved.length, 1))
      const printed = fs.readdirSync(join(ward.backend, 'snapshots'))
      const report = await ward.repair()
      assert.equal(only(report, 'database-damaged').outcome?.repaired, false)
      assert.deepEqual(kinds(report), ['database-damaged'])
      assert.deepEqual(fs.readdirSync(join(ward.backend, 'snapshots')), printed)
      fs.rmSync(ward.metadata)
      assert.deepEqual(kinds(await ward.repair()), ['database-missing'])
      assert.equal(fs.existsSync(ward.metadata), false)
      fs.writeFileSync(ward.metadata, saved)
      await ward.assertSound()
    },
  )

  check('writes a damaged database anew and goes on with what could be read of it', async () => {
    const bytes = fs.readFileSync(ward.metadata)
    const pageSize = bytes.readUInt32LE(24)
    // The meta page of the last commit but one: all is there, and one more accident loses everything.
    const older = bytes.readBigUInt64LE(64) < bytes.readBigUInt64LE(pageSize + 64) ? 0 : pageSize
    fs.writeFileSync(ward.metadata, bytes.fill(0, older, older + pageSize))
    assert.deepEqual(kinds(await ward.examine()), ['database-damaged'])
    const { outcome } = only(await ward.repair(), 'database-damaged')
    assert.deepEqual([outcome?.repaired, /damaged-/.test(outcome?.text ?? '')], [true, true])
    await ward.assertSound()
    await ward.daemon.start()
    assert.equal(await ward.ctr('run', '--rm', image, 'anew', 'cat', '/etc/first'), 'first\n')
    await ward.daemon.stop()
    await ward.assertSound()
  })

  check('refuses a root that a daemon runs on, and bad usage', async () => {
    await ward.daemon.start()
    const { code, stderr } = await ward.doctor()
    assert.equal(code, 1)
    assert.match(
      stderr,
      /^wharf: a daemon runs on this root and has .*meta\.db locked: stop it first/,
    )
    await ward.daemon.stop()
    for (const args of [['--drop-broken-images'], ['--no-such-option']]) {
      assert.equal((await ward.doctor(...args)).code, 2)
    }
    const nowhere = await run(process.execPath, [wharf, 'doctor', '--root', '/no/such/root'])
    assert.equal(nowhere.code, 1)
    assert.match(nowhere.stderr, /there is no store at \/no\/such\/root/)
  })

  check('does not touch a layer that a container has mounted', async () => {
    const running = `running-${process.pid}`
    await ward.daemon.start()
    await ward.ctr('run', '-d', image, running, 'sleep', '1000')
    await ward.daemon.stop()
    const [, second = ''] = await ward.layers()
    const { ino } = fs.statSync(second)
    empty(join(second, 'etc/first'))
    const { outcome } = only(await ward.repair(), 'layer-damaged')
    assert.equal(outcome?.repaired, false)
    assert.match(outcome?.text ?? '', /a process has it mounted, a running container perhaps/)
    assert.equal(fs.statSync(second).ino, ino)
    await ward.daemon.start()
    await ward.ctr('task', 'kill', '-s', 'KILL', running)
    await ward.ctr('task', 'rm', '-f', running)
    await ward.ctr('container', 'rm', running)
    await ward.daemon.stop()
    assert.equal(only(await ward.repair(), 'layer-damaged').outcome?.repaired, true)
    await ward.assertSound()
  })

  check('says of a container that runs without a record how to end it', async () => {
    const id = `unrecorded-${process.pid}`
    await ward.daemon.start()
    await ward.ctr('run', '-d', image, id, 'sleep', '1000')
    await ward.daemon.stop()
    {
      await using database = await openDatabase(ward.metadata)
      await database.update((tx) => find(tx, ['v1', 'default', 'containers'])?.deleteBucket(id))
    }
    const { advice, outcome } = only(await ward.repair(), 'container-unrecorded')
    assert.equal(outcome, undefined)
    const pid = Number(/kill -9 (\d+)/.exec(advice)?.[1])
    process.kill(pid, 'SIGKILL')
    await eventually(async () => {
      const found = kinds(await ward.examine())
      return found.includes('bundle-left') ? found : undefined
    })
    assert.deepEqual(kinds(await ward.repair()), ['bundle-left'])
    await ward.assertSound()
  })
})

async function labelsOf(ward: Ward, digests: readonly string[]): Promise<Record<string, string>> {
  await using database = await openDatabase(ward.metadata, { readOnly: true })
  return database.view((tx) =>
    Object.fromEntries(
      digests.flatMap((digest) => {
        const labels = find(tx, [...blobsOf('default'), digest, 'labels'])
        return Array.from(labels?.entries() ?? [], ({ key, value = new Uint8Array() }) => [
          `${digest} ${Buffer.from(key).toString()}`,
          Buffer.from(value).toString(),
        ])
      }),
    ),
  )
}

for (const [name, containerd] of [
  ['wharfd', undefined] as const,
  ...everyContainerd().map((each) => [`containerd ${each.version}`, each] as const),
]) {
  for (const snapshotter of ['overlayfs', 'native'] as const) {
    void test(`wharf doctor knows what ${name} keeps in ${snapshotter}`, {
      skip,
      timeout,
    }, async () => {
      await using ward = await Ward.open(snapshotter, containerd)
      await ward.ctr('container', 'create', '--snapshotter', snapshotter, image, 'stopped')
      await ward.daemon.stop()
      await ward.assertSound()
      const layers = await ward.layers()
      for (const layer of layers.slice(1))
        empty(join(layer, 'etc/first').replace(/first$/, found(layer)))
      assert.deepEqual(kinds(await ward.repair()), ['layer-damaged', 'layer-damaged'])
      await ward.assertSound()
      await ward.daemon.start()
      const cat = ['cat', '/etc/first', '/etc/second', '/hidden/b']
      const said = await ward.ctr(
        'run',
        '--rm',
        '--snapshotter',
        snapshotter,
        image,
        'again',
        ...cat,
      )
      assert.equal(said, 'first\nsecond\nb')
    })
  }
}

/** The file that only this layer has brought. */
const found = (layer: string): string =>
  fs.existsSync(join(layer, 'etc/second')) ? 'second' : 'first'
