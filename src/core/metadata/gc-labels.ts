/**
 * The labels by which objects hold each other, below `containerd.io/gc.`. Source: upstream
 * `core/metadata/gc.go`.
 *
 *     root…                                 stays by itself
 *     expire = RFC 3339                     a lease or image that may be collected after that
 *     flat                                  a lease that holds only what it lists
 *     ref.content[./…]     = digest         holds that blob
 *     ref.image[./…]       = name           holds that image
 *     ref.snapshot.<snapshotter>[/…] = key  holds that snapshot
 *     ref.<type>[./…]      = key            holds that object of a collectible resource
 *     bref.…               = parent         is held by that content, image, container or snapshot
 *     cond.snapshot.<snapshotter>[/…] = usedat<1h|key   holds that snapshot if it was used since
 *     cond.value-usedat    = RFC 3339       when this snapshot was used
 */
import type { Labels } from '#core/labels/labels.ts'
import type { ReadBucket } from '#lib/bolt/database.ts'
import { parseDuration } from '#lib/go/duration.ts'
import { parseRfc3339 } from '#lib/go/rfc3339.ts'

import { type Node, node, snapshotNode } from './gc-node.ts'
import { decodeText } from './schema.ts'

const prefix = 'containerd.io/gc.'

/** Until when an image or lease is kept. */
export const expireLabel = `${prefix}expire`

/** Says that this object holds `snapshot` as long as the condition is true of that. */
export interface Condition {
  readonly snapshot: Node
  readonly holds: (usedAt: Date) => boolean
}

/** What the labels of one object say. */
export interface Links {
  root: boolean
  flat: boolean
  expire: Date | undefined
  readonly usedAt: Date[]
  /** What it holds. */
  readonly refs: Node[]
  /** What holds it. */
  readonly parents: Node[]
  readonly conditions: Condition[]
}

/** Reads labels as of one moment. What cannot be understood is as if it were not there. */
export class LinkReader {
  readonly now: Date
  readonly #types: readonly string[]

  /** @param types - The collectible resources that labels can name. */
  constructor(now: Date, types: readonly string[] = []) {
    this.now = now
    this.#types = types
  }

  /** The links of the object in `bucket`. */
  ofRecord(bucket: ReadBucket, ns: string): Links {
    const links = noLinks()
    for (const { key, value } of bucket.bucket('labels')?.entries(prefix) ?? []) {
      const name = decodeText(key)
      if (!name.startsWith(prefix)) break
      if (value) this.#read(links, name.slice(prefix.length), decodeText(value), ns)
    }
    return links
  }

  /** The links of an object of a collectible resource. */
  ofLabels(labels: Labels, ns: string): Links {
    const links = noLinks()
    for (const [name, value] of Object.entries(labels)) {
      if (name.startsWith(prefix)) this.#read(links, name.slice(prefix.length), value, ns)
    }
    return links
  }

  #read(links: Links, name: string, value: string, ns: string): void {
    if (name === 'flat') links.flat = true
    else if (name === 'expire') links.expire = timeOf(value)
    else if (name.startsWith('cond.value-usedat')) push(links.usedAt, timeOf(value))
    else if (name.startsWith('root')) links.root = true
    else if (name.startsWith('ref.')) push(links.refs, this.#child(name.slice(4), value, ns))
    else if (name.startsWith('bref.')) push(links.parents, parentOf(name.slice(5), value, ns))
    else if (name.startsWith('cond.snapshot')) {
      const rest = name.slice('cond.snapshot'.length)
      links.conditions.push(...conditionsOf(rest, value, ns, this.now))
    }
  }

  #child(name: string, value: string, ns: string): Node | undefined {
    const type = this.#types.find((known) => isNamed(name, known))
    return type === undefined ? target(name, value, ns) : node(type, ns, value)
  }
}

const noLinks = (): Links => ({
  root: false,
  flat: false,
  expire: undefined,
  usedAt: [],
  refs: [],
  parents: [],
  conditions: [],
})

const parentOf = (name: string, value: string, ns: string): Node | undefined =>
  isNamed(name, 'container') ? node('container', ns, value) : target(name, value, ns)

/** The object that `content…`, `image…` or `snapshot.<snapshotter>…` names. */
function target(name: string, value: string, ns: string): Node | undefined {
  if (isNamed(name, 'content')) return node('content', ns, value)
  if (isNamed(name, 'image')) return node('image', ns, value)
  if (!name.startsWith('snapshot.')) return undefined
  return snapshotNode(ns, snapshotterOf(name.slice('snapshot.'.length)), value)
}

/** Whether `name` is `kind`, or `kind` with a name of its own behind a dot or slash. */
const isNamed = (name: string, kind: string): boolean =>
  name === kind || name.startsWith(`${kind}.`) || name.startsWith(`${kind}/`)

const snapshotterOf = (text: string): string => text.split('/', 1)[0] ?? ''

function push<T>(list: T[], found: T | undefined): void {
  if (found !== undefined) list.push(found)
}

/** Conditions are alternatives; of those that are known, only the age of the last use. */
function conditionsOf(name: string, value: string, ns: string, now: Date): Condition[] {
  const bar = value.indexOf('|')
  if (bar < 0) return []
  const snapshotter = snapshotterOf(name.replace(/^[./]+/, ''))
  const snapshot = snapshotNode(ns, snapshotter, value.slice(bar + 1))
  const conditions: Condition[] = []
  for (const text of value.slice(0, bar).split(',')) {
    const [, sign, limit = ''] = /^usedat([<>])([^=].*)$/.exec(text) ?? []
    const ms = durationOf(limit)
    if (sign === undefined || ms === undefined) continue
    const age = (usedAt: Date): number => now.getTime() - usedAt.getTime()
    conditions.push({
      snapshot,
      holds: sign === '<' ? (at) => age(at) < ms : (at) => age(at) > ms,
    })
  }
  return conditions
}

function timeOf(text: string): Date | undefined {
  try {
    return parseRfc3339(text)
  } catch {
    return undefined // Ignored, as if the label were not there.
  }
}

function durationOf(text: string): number | undefined {
  try {
    return parseDuration(text)
  } catch {
    return undefined // A condition that nobody understands does not hold.
  }
}
