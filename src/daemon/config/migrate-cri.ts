import { Branch, type Node } from './tree.ts'

/*
 * Version 3 makes three plugins of the one CRI plugin:
 *
 *     grpc.v1.cri ─┬─ cri.v1.images    pulling: registry, snapshotter, sandbox_image
 *                  ├─ grpc.v1.cri      the streaming server
 *                  └─ cri.v1.runtime   everything else
 *
 * Source: upstream `plugins/cri/{runtime,images}/plugin.go` and `plugins/cri/cri.go`. Two of its slips
 * are not repeated: it looks for `snapshot` and writes `runtime_platform`, where the keys that are
 * read are `snapshotter` and `runtime_platforms`.
 */

const cri = 'io.containerd.grpc.v1.cri'
const runtime = 'io.containerd.cri.v1.runtime'
const images = 'io.containerd.cri.v1.images'

const serverKeys = new Set([
  'disable_tcp_service',
  'enable_tls_streaming',
  'stream_idle_timeout',
  'stream_server_address',
  'stream_server_port',
  'x509_key_pair_streaming',
])
const imageKeys = new Set([
  'image_decryption',
  'image_pull_progress_timeout',
  'image_pull_with_sync_fs',
  'max_concurrent_downloads',
  'registry',
  'stats_collect_period',
])
const imageKeysOfContainerd = new Set([
  'disable_snapshot_annotations',
  'discard_unpacked_layers',
  'snapshotter',
])

/** Splits the CRI plugin of a file of version 2; what is already in the new place wins. */
export function migrateCri(plugins: Branch): void {
  const old = plugins.branch(cri)
  if (!old) return
  const server = new Branch(old.origin)
  for (const [key, node] of old.entries) {
    if (serverKeys.has(key)) server.set(key, node)
    else if (imageKeys.has(key)) fill(plugins.ensure(images), key, node)
    else if (key === 'sandbox_image') {
      plugins.ensure(images).ensure('pinned_images').set('sandbox', node)
    } else if (key === 'containerd' && node instanceof Branch) moveContainerd(plugins, node)
    else if (key === 'cni' && node instanceof Branch) moveCni(plugins, node)
    else fill(plugins.ensure(runtime), key, node)
  }
  plugins.set(cri, server)
}

/** `[containerd]` of the CRI plugin: snapshots go to the images, runtimes to the runtime. */
function moveContainerd(plugins: Branch, old: Branch): void {
  const to = plugins.ensure(runtime).ensure('containerd')
  for (const [key, node] of old.entries) {
    if (imageKeysOfContainerd.has(key)) fill(plugins.ensure(images), key, node)
    else fill(to, key, node)
  }
  for (const [name, handler] of to.branch('runtimes')?.entries ?? []) {
    if (!(handler instanceof Branch)) continue
    rename(handler, 'sandbox_mode', 'sandboxer')
    pullForRuntime(plugins, name, handler)
  }
}

/** A runtime with a snapshotter of its own needs images unpacked into that one. */
function pullForRuntime(plugins: Branch, name: string, handler: Branch): void {
  const snapshotter = handler.leaf('snapshotter')
  if (!snapshotter || snapshotter.value === '') return
  const platform = plugins.ensure(images).ensure('runtime_platforms').ensure(name)
  fill(platform, 'snapshotter', snapshotter)
}

function moveCni(plugins: Branch, old: Branch): void {
  const to = plugins.ensure(runtime).ensure('cni')
  for (const [key, node] of old.entries) {
    if (key === 'bin_dir' && !(node instanceof Branch)) {
      const list = node.value === '' ? [] : [node.value]
      fill(to, 'bin_dirs', { ...node, value: list })
    } else fill(to, key, node)
  }
}

/** Sets `key` unless it is set. */
function fill(to: Branch, key: string, node: Node): void {
  const there = to.get(key)
  if (there === undefined) to.set(key, node)
  else if (there instanceof Branch && node instanceof Branch) {
    for (const [name, inner] of node.entries) fill(there, name, inner)
  }
}

function rename(table: Branch, from: string, to: string): void {
  if (!table.get(from) || table.get(to)) return
  const node = table.take(from)
  if (node) table.set(to, node)
}
