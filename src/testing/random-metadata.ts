import { writeLabels, writeTime } from '#core/metadata/fields.ts'
import { find, make, schemaVersion } from '#core/metadata/schema.ts'
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'
import { digestOf } from '#lib/digest/digest.ts'

/** What of the collector's language random records use. */
export interface RandomFeatures {
  /** Images that expire, leases of images, labels that name images. */
  readonly images: boolean
  /** Sandboxes, which hold what their labels name. */
  readonly sandboxes: boolean
  /** Labels by which an object says what holds it, labels that hold on a condition, roots with a name. */
  readonly newest: boolean
}

export const allFeatures: RandomFeatures = {
  images: true,
  sandboxes: true,
  newest: true,
}

const gc = 'containerd.io/gc.'
const past = '2020-01-01T00:00:00Z'
const future = '2120-01-01T00:00:00Z'
const snapshotters = ['overlayfs', 'native']
const namespaces = ['one', 'two']
/** How many names there are of each kind: few enough that they meet. */
const names = 10

/** Writes random records that refer to each other, and to what is not there. */
export class RandomMetadata {
  readonly #below: (limit: number) => number
  readonly #features: RandomFeatures

  /** @param below - Random numbers of 0…`limit` - 1. */
  constructor(below: (limit: number) => number, features: RandomFeatures) {
    this.#below = below
    this.#features = features
  }

  /** Makes, changes or deletes one record. */
  write(tx: Bucket): void {
    const ns = make(tx, [schemaVersion, this.#pick(namespaces)])
    this.#pick<(bucket: Bucket) => void>([
      (bucket) => this.#image(bucket),
      (bucket) => this.#blob(bucket),
      (bucket) => this.#blob(bucket),
      (bucket) => this.#blob(bucket),
      (bucket) => this.#snapshot(bucket),
      (bucket) => this.#snapshot(bucket),
      (bucket) => this.#snapshot(bucket),
      (bucket) => this.#container(bucket),
      (bucket) => this.#lease(bucket),
      (bucket) => this.#ingest(bucket),
      (bucket) => this.#sandbox(bucket),
    ])(ns)
  }

  #pick<T>(choices: readonly T[]): T {
    const choice = choices[this.#below(choices.length)]
    if (choice === undefined) throw new RangeError('nothing to choose from')
    return choice
  }

  #name = (kind: string): string => `${kind}${this.#below(names)}`
  #digest = (): string => digestOf(this.#name('blob'))

  /** A record to fill in, new or as it was; undefined when it was deleted instead. */
  #record(ns: Bucket, path: readonly string[], name: string): Bucket | undefined {
    const records = make(ns, path)
    const there = find(records, [name])
    const fate = this.#below(10)
    if (there && fate < 4) records.deleteBucket(name)
    return there && fate < 2 ? undefined : records.createBucketIfNotExists(name)
  }

  #image(ns: Bucket): void {
    const image = this.#record(ns, ['images'], this.#name('image'))
    if (!image) return
    make(image, ['target']).put('digest', this.#digest())
    writeLabels(image, { ...this.#labels(), ...(this.#features.images ? this.#expire() : {}) })
  }

  #blob(ns: Bucket): void {
    const blob = this.#record(ns, ['content', 'blob'], this.#digest())
    if (blob) writeLabels(blob, this.#labels())
  }

  /** A snapshot may be on any other one that is older by its name, so that there are no circles. */
  #snapshot(ns: Bucket): void {
    const number = this.#below(names)
    const snapshotter = this.#pick(snapshotters)
    const snapshot = this.#record(ns, ['snapshots', snapshotter], `snapshot${number}`)
    if (!snapshot) return
    snapshot.put('name', `x/1/snapshot${number}`)
    const parent = number > 0 && this.#below(2) > 0 ? `snapshot${this.#below(number)}` : ''
    snapshot.put('parent', parent)
    if (parent !== '') {
      const above = find(ns, ['snapshots', snapshotter, parent])
      if (above) make(above, ['children']).put(`snapshot${number}`, '')
    }
    const labels = { ...this.#labels(), ...(this.#features.newest ? this.#used() : {}) }
    writeLabels(snapshot, labels)
  }

  #container(ns: Bucket): void {
    const container = this.#record(ns, ['containers'], this.#name('container'))
    if (!container) return
    container.put('snapshotter', this.#below(3) > 0 ? this.#pick(snapshotters) : '')
    container.put('snapshotKey', this.#name('snapshot'))
    writeLabels(container, this.#labels())
  }

  #lease(ns: Bucket): void {
    const lease = this.#record(ns, ['leases'], this.#name('lease'))
    if (!lease) return
    const labels = { ...this.#expire(), ...(this.#below(3) === 0 ? { [`${gc}flat`]: 'x' } : {}) }
    writeLabels(lease, labels)
    for (let count = this.#below(5); count > 0; count--) {
      const kinds = [
        ['content', this.#digest()],
        ['snapshots', this.#pick(snapshotters), this.#name('snapshot')],
        ['ingests', this.#name('ingest')],
        ...(this.#features.images ? [['images', this.#name('image')]] : []),
      ]
      const path = this.#pick(kinds)
      make(lease, path.slice(0, -1)).put(path.at(-1) ?? '', '')
    }
  }

  #ingest(ns: Bucket): void {
    const ingest = this.#record(ns, ['content', 'ingests'], this.#name('ingest'))
    if (!ingest) return
    ingest.put('ref', 'x/1/ref')
    if (this.#below(2) > 0) ingest.put('expected', this.#digest())
    if (this.#below(2) > 0) writeTime(ingest, 'expireat', new Date(this.#pick([past, future])))
  }

  #sandbox(ns: Bucket): void {
    const sandbox = this.#record(ns, ['sandboxes'], this.#name('sandbox'))
    if (sandbox && this.#features.sandboxes) writeLabels(sandbox, this.#labels())
  }

  #expire(): Record<string, string> {
    const times = [past, future, 'never', '2020-01-01T00:00:00+01:00', '2120-01-01T00:00:00.5Z']
    return this.#below(3) === 0 ? {} : { [`${gc}expire`]: this.#pick(times) }
  }

  #used(): Record<string, string> {
    if (this.#below(3) > 0) return {}
    return { [`${gc}cond.value-usedat`]: this.#pick([past, new Date().toISOString(), 'x']) }
  }

  #labels(): Record<string, string> {
    const labels: Record<string, string> = {}
    for (let count = this.#below(4); count > 0; count--) {
      const [name, value] = this.#label()
      labels[gc + name] = value
    }
    return labels
  }

  #label(): readonly [name: string, value: string] {
    const suffix = this.#pick(['', '.0', '/l', '.m.1', 's'])
    const snapshotter = this.#pick(snapshotters)
    const named = this.#pick(['', '/n'])
    const blob = [`content${suffix}`, this.#digest()] as const
    const snapshot = [`snapshot.${snapshotter}${named}`, this.#name('snapshot')] as const
    const image = [`image${suffix}`, this.#name('image')] as const
    const container = [`container${suffix}`, this.#name('container')] as const
    const { images, newest } = this.#features
    const [refName, ref] = this.#pick([blob, snapshot, ...(images ? [image] : [])])
    const choices: (readonly [string, string])[] = [[`ref.${refName}`, ref]]
    choices.push(...choices, ...choices)
    if (this.#below(4) === 0)
      choices.push([this.#pick(['root', newest ? 'root.x' : 'root', 'roo']), 'x'])
    if (newest) {
      const [name, value] = this.#pick([blob, snapshot, image, container])
      choices.push([`bref.${name}`, value])
      const condition = this.#pick(['usedat<1h', 'usedat>1h', 'usedat<=1h', 'x<1,usedat<1h', 'y'])
      choices.push([`cond.snapshot.${snapshotter}${named}`, `${condition}|${snapshot[1]}`])
    }
    return this.#pick(choices)
  }
}

/** Where the records of every kind are, in all namespaces. */
export function recordsIn(tx: ReadBucket): string[] {
  const found: string[] = []
  const schema = tx.bucket(schemaVersion)
  for (const [name, ns] of schema?.buckets() ?? []) {
    const text = Buffer.from(name).toString()
    const kinds = ['images', 'containers', 'leases', 'sandboxes']
    const paths = [...kinds.map((kind) => [kind]), ['content', 'blob'], ['content', 'ingests']]
    paths.push(...snapshotters.map((snapshotter) => ['snapshots', snapshotter]))
    for (const path of paths) {
      for (const [key] of find(ns, path)?.buckets() ?? []) {
        found.push([text, ...path, Buffer.from(key).toString()].join(' '))
      }
    }
  }
  return found.toSorted()
}
