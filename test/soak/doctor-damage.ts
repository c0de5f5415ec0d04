import * as fs from 'node:fs'
import { join } from 'node:path'

import { readText } from '#core/metadata/fields.ts'
import { find, imagesOf } from '#core/metadata/schema.ts'
import type { Kind } from '#doctor/finding.ts'
import type { Bucket } from '#lib/bolt/database.ts'
import { encodeVarint } from '#lib/go/varint.ts'
import { lsetxattr } from '#sys/xattr.ts'

import type { DoctorStore } from './doctor-store.ts'
import { stored } from './doctor-store.ts'

/** What the doctor must say of a damage. */
export interface Expectation {
  readonly damage: string
  readonly kind: Kind
  /** What `where` has in it. */
  readonly where: string
  /** What one of the details begins with. */
  readonly detail?: string
  /** What makes it good, beyond `--repair`: a daemon runs when it is called. */
  readonly heal?: (store: DoctorStore) => Promise<void>
}

type Below = (limit: number) => number

/** What may still be damaged: each thing is damaged once, so that every damage shows by itself. */
export class Targets {
  readonly store: DoctorStore
  readonly below: Below
  /** Directories of layers, of which single files may be damaged. */
  readonly layers: string[]
  readonly files: { readonly layer: string; readonly path: string }[]
  readonly links: { readonly layer: string; readonly path: string }[]
  readonly marks: { readonly layer: string; readonly path: string }[]
  /** Layers of which something was damaged. */
  readonly touched = new Set<string>()
  /** Blobs of the image that is not unpacked. */
  readonly blobs: string[]

  private constructor(store: DoctorStore, below: Below, layers: string[], blobs: string[]) {
    this.store = store
    this.below = below
    this.layers = layers
    this.blobs = blobs
    const all = layers.flatMap((layer) =>
      walk(join(store.files(layer)), '').map((path) => ({ layer, path })),
    )
    const kind = (is: (stat: fs.Stats) => boolean) =>
      all.filter(({ layer, path }) => is(fs.lstatSync(join(store.files(layer), path))))
    this.files = kind((stat) => stat.isFile() && stat.nlink === 1 && stat.size > 0)
    this.links = kind((stat) => stat.isSymbolicLink())
    this.marks = kind((stat) => stat.isCharacterDevice())
  }

  static async of(store: DoctorStore, below: Below): Promise<Targets> {
    const snapshots = await store.snapshots()
    const chains = new Map(snapshots.map(({ info }) => [info.name, info.parent]))
    const top = snapshots.find(({ info }) => info.name.endsWith('/stopped'))?.info.parent ?? ''
    const names: string[] = []
    for (let next = top; next !== ''; next = chains.get(next) ?? '') names.push(next)
    const layers = snapshots.filter(({ info }) => names.includes(info.name)).map(({ id }) => id)
    return new Targets(store, below, layers, await blobsOf(store))
  }

  take<T>(from: T[]): T | undefined {
    return from.length > 0 ? from.splice(this.below(from.length), 1)[0] : undefined
  }
}

/** The layers of the image that is not unpacked: its manifest and config say what the others are. */
async function blobsOf(store: DoctorStore): Promise<string[]> {
  const digest = await store.read(store.metadata, (tx) => {
    const target = find(tx, [...imagesOf(store.namespace), stored, 'target'])
    return target ? readText(target, 'digest') : ''
  })
  const manifest = fs.readFileSync(join(store.blobs, digest.split(':')[1] ?? ''), 'utf8')
  const digests = [...manifest.matchAll(/sha256:([0-9a-f]{64})/g)].map(([, hex = '']) => hex)
  // The first is the config.
  return digests.slice(1)
}

const walk = (dir: string, path: string): string[] =>
  fs.readdirSync(join(dir, path), { withFileTypes: true }).flatMap((entry) => {
    const below = path === '' ? entry.name : `${path}/${entry.name}`
    return entry.isDirectory() ? walk(dir, below) : [below]
  })

type Damage = (targets: Targets) => Promise<Expectation | undefined> | Expectation | undefined

/** Does `change` to a file of a layer, and keeps its time, as a disk that loses data does. */
function inLayer(
  damage: string,
  from: 'files' | 'links' | 'marks',
  change: (path: string) => void,
): Damage {
  return (targets) => {
    const target = targets.take(targets[from])
    if (!target) return undefined
    targets.touched.add(target.layer)
    const path = join(targets.store.files(target.layer), target.path)
    const { atime, mtime } = fs.lstatSync(path)
    change(path)
    if (fs.existsSync(path) && fs.lstatSync(path).isFile()) fs.utimesSync(path, atime, mtime)
    const where = `/snapshots/${target.layer}/fs`
    return { damage, kind: 'layer-damaged', where, detail: `${target.path}: ` }
  }
}

/** Does `change` to a blob, which is imported again afterwards. */
function inBlob(damage: string, kind: Kind, change: (path: string) => void): Damage {
  return (targets) => {
    const name = targets.take(targets.blobs)
    if (name === undefined) return undefined
    change(join(targets.store.blobs, name))
    return { damage, kind, where: name, heal: async (store) => await store.import(stored) }
  }
}

function flip(path: string, below: (limit: number) => number = () => 0): void {
  const fd = fs.openSync(path, 'r+')
  try {
    const byte = Buffer.alloc(1)
    const at = below(fs.fstatSync(fd).size)
    fs.readSync(fd, byte, 0, 1, at)
    byte[0] = (byte[0] ?? 0) ^ 1
    fs.writeSync(fd, byte, 0, 1, at)
  } finally {
    fs.closeSync(fd)
  }
}

let made = 0
const unique = (): string => `${process.pid}-${++made}`

/** A record of `meta.db` in the namespace of the store. */
async function inRecords(
  store: DoctorStore,
  path: readonly string[],
  change: (bucket: Bucket) => void,
): Promise<void> {
  await store.write(store.metadata, (tx) => {
    let at = tx
    for (const key of ['v1', store.namespace, ...path]) at = at.createBucketIfNotExists(key)
    change(at)
  })
}

/** Every way to damage a store; the first are by far the most frequent in life. */
export const damages: readonly Damage[] = [
  inLayer('a file emptied', 'files', (path) => fs.truncateSync(path, 0)),
  inLayer('a file cut short', 'files', (path) =>
    fs.truncateSync(path, fs.statSync(path).size >> 1),
  ),
  (targets) =>
    inLayer('a bit of a file flipped', 'files', (path) => flip(path, targets.below))(targets),
  inLayer('a file lost', 'files', (path) => fs.rmSync(path)),
  inLayer('a file of another owner', 'files', (path) => fs.chownSync(path, 12, 34)),
  inLayer('a file of another mode', 'files', (path) => fs.chmodSync(path, 0o4711)),
  inLayer('a file with an attribute', 'files', (path) => lsetxattr(path, 'user.new', Buffer.of(1))),
  inLayer('a file that became a directory', 'files', (path) => {
    fs.rmSync(path)
    fs.mkdirSync(path)
  }),
  inLayer('a link elsewhere', 'links', (path) => {
    fs.rmSync(path)
    fs.symlinkSync('elsewhere', path)
  }),
  inLayer('a deletion forgotten', 'marks', (path) => fs.rmSync(path)),
  (targets) => {
    const layer = targets.layers[targets.below(targets.layers.length)] ?? ''
    const path = `strange-${unique()}`
    targets.touched.add(layer)
    fs.writeFileSync(join(targets.store.files(layer), path), 'strange')
    return {
      damage: 'a strange file',
      kind: 'layer-damaged',
      where: `/snapshots/${layer}/fs`,
      detail: `${path}: `,
    }
  },
  (targets) =>
    inBlob('a bit of a blob flipped', 'blob-damaged', (path) => flip(path, targets.below))(targets),
  inBlob('a blob emptied', 'blob-damaged', (path) => fs.truncateSync(path, 0)),
  inBlob('a blob lost', 'blob-missing', (path) => fs.rmSync(path)),
  async (targets) => {
    const name = targets.take(targets.blobs)
    if (name === undefined) return undefined
    await inRecords(targets.store, ['content', 'blob'], (blobs) =>
      blobs.deleteBucket(`sha256:${name}`),
    )
    return { damage: 'the record of a blob lost', kind: 'blob-lost', where: name }
  },
  async (targets) => {
    const name = targets.take(targets.blobs)
    if (name === undefined) return undefined
    await inRecords(targets.store, ['content', 'blob', `sha256:${name}`], (blob) =>
      blob.put('size', encodeVarint(7)),
    )
    return { damage: 'the size of a blob wrong', kind: 'blob-size-wrong', where: name }
  },
  ({ store }) => {
    const name = unique()
    fs.writeFileSync(join(store.blobs, name), name)
    return { damage: 'a file among the blobs', kind: 'blob-misnamed', where: name }
  },
  ({ store }) => {
    const dir = join(store.content, 'ingest', unique().padStart(64, '0'))
    fs.mkdirSync(dir)
    fs.writeFileSync(join(dir, 'data'), 'half of something')
    return { damage: 'an upload left', kind: 'ingest-left', where: dir }
  },
  ({ store, below }) => {
    const names = [`new-${unique()}`, `rm-${unique()}`, String(100_000 + ++made)]
    const dir = join(store.overlay, 'snapshots', names[below(names.length)] ?? '')
    fs.mkdirSync(join(dir, 'fs'), { recursive: true })
    fs.writeFileSync(join(dir, 'fs', 'left'), 'left')
    return { damage: 'a directory of no snapshot', kind: 'snapshot-directory-left', where: dir }
  },
  async (targets) => {
    // With the layer go the files that might have been damaged in it.
    const at = targets.layers.findIndex((layer) => !targets.touched.has(layer))
    const [layer] = at >= 0 && targets.layers.length > 2 ? targets.layers.splice(at, 1) : []
    if (layer === undefined) return undefined
    for (const list of [targets.files, targets.links, targets.marks]) {
      list.splice(0, list.length, ...list.filter((each) => each.layer !== layer))
    }
    const dir = join(targets.store.files(layer), targets.below(2) === 0 ? '' : '..')
    fs.rmSync(dir, { recursive: true })
    const where = `/snapshots/${layer}/`
    return await Promise.resolve({
      damage: 'a layer lost',
      kind: 'snapshot-directory-missing',
      where,
    })
  },
  async ({ store }) => {
    const id = `dangling-${unique()}`
    await inRecords(store, ['containers', id], (record) => {
      record.put('snapshotter', 'overlayfs')
      record.put('snapshotKey', 'nothing')
      record.createBucket('runtime').put('name', 'io.containerd.runc.v2')
    })
    return {
      damage: 'a container without a snapshot',
      kind: 'container-snapshot-missing',
      where: id,
      heal: async () => void (await store.succeed('container', 'rm', id)),
    }
  },
  async ({ store }) => {
    const key = `lost-${unique()}`
    await inRecords(store, ['snapshots', 'overlayfs', key], (record) =>
      record.put('name', `${store.namespace}/99/${key}`),
    )
    return { damage: 'a snapshot nobody has', kind: 'snapshot-backend-missing', where: key }
  },
  async ({ store }) => {
    const key = `orphan-${unique()}`
    await inRecords(store, ['snapshots', 'overlayfs', key], (record) => {
      record.put('name', `${store.namespace}/99/${key}`)
      record.put('parent', 'no such parent')
    })
    return { damage: 'a snapshot on nothing', kind: 'snapshot-parent-missing', where: key }
  },
  ({ store }) => {
    const dir = join(store.daemon.root, 'tmpmounts', `containerd-mount${unique()}`)
    fs.mkdirSync(dir, { recursive: true })
    return { damage: 'a temporary mount left', kind: 'temporary-mount-left', where: dir }
  },
  ({ store }) => {
    const id = `gone-${unique()}`
    const dir = join(store.daemon.state, 'io.containerd.runtime.v2.task', store.namespace, id)
    fs.mkdirSync(join(dir, 'rootfs'), { recursive: true })
    return { damage: 'a bundle left', kind: 'bundle-left', where: dir }
  },
  ({ store }) => {
    const id = `gone-${unique()}`
    const dir = join(store.daemon.root, 'io.containerd.runtime.v2.task', store.namespace, id)
    fs.mkdirSync(dir, { recursive: true })
    return { damage: 'a work directory left', kind: 'runtime-directory-left', where: dir }
  },
]
