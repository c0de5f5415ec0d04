import { readdirSync } from 'node:fs'
import { join } from 'node:path'

import { listSnapshots, type StoredSnapshot } from '#core/snapshots/storage/storage.ts'
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { tryLock } from '#sys/flock.ts'
import { containerd1 } from '#testing/containerd.ts'
import { type Ran, run, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { busyboxLayer, type ImageSource, type LayerFile, writeImage } from '#testing/image.ts'

import { removeCgroups } from './cgroups.ts'

/** Damaged in its layers: it is unpacked, and runs. */
export const unpacked = 'docker.io/library/unpacked:1'
/** Damaged in its blobs: it is not unpacked. */
export const stored = 'docker.io/library/stored:1'
/** Of a container that runs all the while: nothing happens to it. */
export const untouched = 'docker.io/library/untouched:1'

/** Layers of the first, and files in each; blobs of the second. */
const [layers, files, blobs] = [4, 60, 24] as const

/** A store that a daemon has filled, with the daemon stopped and a container running. */
export class DoctorStore implements AsyncDisposable {
  readonly daemon: TestDaemon
  readonly namespace: string

  private constructor(daemon: TestDaemon, namespace: string) {
    this.daemon = daemon
    this.namespace = namespace
  }

  static async open(): Promise<DoctorStore> {
    const store = new DoctorStore(await startDaemon(), `doctor-${process.pid}`)
    try {
      await store.#fill()
      return store
    } catch (err) {
      await store[Symbol.asyncDispose]()
      throw err
    }
  }

  async #fill(): Promise<void> {
    for (const source of [unpackedImage(), storedImage(), untouchedImage()]) {
      await writeImage(source, this.archive(source.name))
    }
    await this.import(unpacked)
    await this.import(stored)
    await this.import(untouched)
    await this.succeed(
      'run',
      '-d',
      untouched,
      'running',
      'sh',
      '-c',
      'while cat /data; do sleep 1; done',
    )
    await this.succeed('container', 'create', unpacked, 'stopped')
  }

  archive(image: string): string {
    return join(this.daemon.dir, `${image.replaceAll(/[^a-z0-9]/g, '-')}.tar`)
  }

  async import(image: string): Promise<void> {
    const flags = image === stored ? ['--no-unpack'] : []
    await this.succeed('image', 'import', ...flags, this.archive(image))
  }

  /** Runs `ctr` to its end. */
  async ctr(...args: readonly string[]): Promise<Ran> {
    const { ctr = 'ctr' } = containerd1() ?? {}
    return await run(ctr, ['-a', this.daemon.address, '-n', this.namespace, ...args])
  }

  /** Runs `ctr`, which must succeed. @returns what it printed. */
  async succeed(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.ctr(...args)
    if (code !== 0) throw new Error(`ctr ${args.join(' ')}: ${stdout}${stderr}`)
    return stdout
  }

  /** Pid of the container that runs all the while. */
  async pid(): Promise<string> {
    const tasks = await this.succeed('task', 'ls')
    return /^running\s+(\d+)\s+RUNNING/m.exec(tasks)?.[1] ?? 'none'
  }

  get content(): string {
    return join(this.daemon.root, 'io.containerd.content.v1.content')
  }

  get blobs(): string {
    return join(this.content, 'blobs', 'sha256')
  }

  get overlay(): string {
    return join(this.daemon.root, 'io.containerd.snapshotter.v1.overlayfs')
  }

  /** Where a snapshot's files are. */
  files(id: string): string {
    return join(this.overlay, 'snapshots', id, 'fs')
  }

  /** Every file of the content store. */
  blobNames(): readonly string[] {
    return readdirSync(this.blobs).toSorted()
  }

  async snapshots(): Promise<readonly StoredSnapshot[]> {
    return await this.read(join(this.overlay, 'metadata.db'), (tx) => [...listSnapshots(tx)])
  }

  get metadata(): string {
    return join(this.daemon.root, 'io.containerd.metadata.v1.bolt', 'meta.db')
  }

  async read<T>(path: string, fn: (tx: ReadBucket) => T): Promise<T> {
    await using database = await openDatabase(path, { readOnly: true, lock: tryLock })
    return database.view(fn)
  }

  async write(path: string, fn: (tx: Bucket) => void): Promise<void> {
    await using database = await openDatabase(path, { lock: tryLock })
    await database.update(fn)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (this.daemon.process.exitCode !== null) await this.daemon.start()
      await this.ctr('task', 'kill', '-s', 'KILL', 'running')
      await this.ctr('task', 'rm', '-f', 'running')
    } finally {
      await this.daemon[Symbol.asyncDispose]()
      removeCgroups(this.namespace)
    }
  }
}

function unpackedImage(): ImageSource {
  const data = (layer: number): Record<string, LayerFile> =>
    Object.fromEntries(
      Array.from({ length: files }, (_, i) => [
        `data/${layer}/${i % 5}/file-${i}`,
        `${layer}/${i} `.repeat(i * i + 1),
      ]),
    )
  const upper = Array.from({ length: layers - 1 }, (_, i) => ({
    ...data(i + 1),
    [`links/to-${i + 1}`]: { link: `../data/${i + 1}` },
    // A file of the layer below is deleted, and a directory of it is hidden.
    [`data/${i}/1/.wh.file-1`]: '',
    [`data/${i}/2/.wh..wh..opq`]: '',
  }))
  return {
    name: unpacked,
    gzip: true,
    layers: [{ ...busyboxLayer, ...data(0), 'of/unpacked': '' }, ...upper],
  }
}

const storedImage = (): ImageSource => ({
  name: stored,
  gzip: true,
  layers: Array.from({ length: blobs }, (_, i) => ({ [`blob-${i}`]: `${i} `.repeat(2000 + i) })),
})

const untouchedImage = (): ImageSource => ({
  name: untouched,
  gzip: true,
  layers: [{ ...busyboxLayer, 'of/untouched': '' }, { data: 'still here\n' }],
})
