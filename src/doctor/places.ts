/**
 * Where a daemon keeps what. Names of directories are those of plugins, as in containerd.
 *
 *     <root>/io.containerd.metadata.v1.bolt/meta.db
 *     <root>/io.containerd.content.v1.content/{blobs,ingest}
 *     <root>/io.containerd.snapshotter.v1.<name>/{metadata.db,snapshots}     elsewhere by `root_path`
 *     <root>/io.containerd.runtime.v2.task/<namespace>/<id>                  work directories
 *     <root>/tmpmounts/containerd-mount*
 *     <root>/lost+found/blobs                                                the doctor's own
 *     <state>/io.containerd.runtime.v2.task/<namespace>/<id>                 bundles
 *     <state>/runc/<namespace>/<id>                                          of the OCI runtime
 *     <state>/s/<sha256>                                                     sockets of shims
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { parse } from 'smol-toml'

import { invalidArgument } from '#lib/errors/errors.ts'

/** How a snapshotter keeps its files. */
export type SnapshotterName = 'overlayfs' | 'native'

export interface SnapshotterPlace {
  readonly name: SnapshotterName
  readonly root: string
}

export interface Places {
  readonly root: string
  readonly state: string
  readonly metadata: string
  readonly content: string
  readonly snapshotters: readonly SnapshotterPlace[]
  readonly work: string
  readonly bundles: string
  readonly temporaryMounts: string
  readonly lostAndFound: string
  readonly runc: string
  readonly sockets: string
}

export interface PlacesOptions {
  readonly root?: string | undefined
  readonly state?: string | undefined
  /** A config.toml that says where `root`, `state` and the snapshotters are. */
  readonly config?: string | undefined
}

const defaults = { root: '/var/lib/containerd', state: '/run/containerd' } as const
const runtime = 'io.containerd.runtime.v2.task'

/** @throws `invalid_argument` for a configuration that cannot be parsed; system errors. */
export function findPlaces(options: PlacesOptions): Places {
  const config = options.config === undefined ? {} : readConfig(options.config)
  const root = options.root ?? textAt(config, ['root']) ?? defaults.root
  const state = options.state ?? textAt(config, ['state']) ?? defaults.state
  const snapshotters = (['overlayfs', 'native'] as const).map((name) => {
    const plugin = `io.containerd.snapshotter.v1.${name}`
    const moved = textAt(config, ['plugins', plugin, 'root_path'])
    return { name, root: moved ?? join(root, plugin) }
  })
  return {
    root,
    state,
    snapshotters,
    metadata: join(root, 'io.containerd.metadata.v1.bolt', 'meta.db'),
    content: join(root, 'io.containerd.content.v1.content'),
    work: join(root, runtime),
    bundles: join(state, runtime),
    temporaryMounts: join(root, 'tmpmounts'),
    lostAndFound: join(root, 'lost+found'),
    runc: join(state, 'runc'),
    sockets: join(state, 's'),
  }
}

function readConfig(path: string): unknown {
  const text = readFileSync(path, 'utf8')
  try {
    return parse(text)
  } catch (err) {
    throw invalidArgument(`cannot parse ${path}`, { cause: err })
  }
}

/** The text at `path` of nested tables; undefined when it is missing, empty or no text. */
function textAt(table: unknown, path: readonly string[]): string | undefined {
  let at = table
  for (const key of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined
    at = Object.entries(at).find(([name]) => name === key)?.[1]
  }
  return typeof at === 'string' && at !== '' ? at : undefined
}
