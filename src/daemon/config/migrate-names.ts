import { Branch, type Leaf } from './tree.ts'

/** Plugins that had a short name in version 1. */
const names: Readonly<Record<string, string>> = {
  aufs: 'io.containerd.snapshotter.v1.aufs',
  bolt: 'io.containerd.metadata.v1.bolt',
  btrfs: 'io.containerd.snapshotter.v1.btrfs',
  cgroups: 'io.containerd.monitor.v1.cgroups',
  cri: 'io.containerd.grpc.v1.cri',
  devmapper: 'io.containerd.snapshotter.v1.devmapper',
  linux: 'io.containerd.runtime.v1.linux',
  native: 'io.containerd.snapshotter.v1.native',
  opt: 'io.containerd.internal.v1.opt',
  otlp: 'io.containerd.tracing.processor.v1.otlp',
  overlayfs: 'io.containerd.snapshotter.v1.overlayfs',
  restart: 'io.containerd.internal.v1.restart',
  scheduler: 'io.containerd.gc.v1.scheduler',
  task: 'io.containerd.runtime.v2.task',
  tracing: 'io.containerd.internal.v1.tracing',
  windows: 'io.containerd.snapshotter.v1.windows',
  'windows-lcow': 'io.containerd.snapshotter.v1.windows-lcow',
  zfs: 'io.containerd.snapshotter.v1.zfs',
}

/** The URI of a plugin that version 1 calls by a short name; URIs stay as they are. */
export function uriOf(name: string): string {
  if (name.includes('.')) return name
  if (name.endsWith('-service')) return `io.containerd.service.v1.${name}`
  return names[name] ?? `io.containerd.grpc.v1.${name}`
}

/** From version 1 to 2: every short name of a plugin becomes its URI. */
export function namesToUris(tree: Branch): void {
  for (const list of ['disabled_plugins', 'required_plugins']) {
    const leaf = tree.leaf(list)
    if (leaf) tree.set(list, withUris(leaf))
  }
  const plugins = tree.branch('plugins')
  if (!plugins) return
  tree.set(
    'plugins',
    new Branch(
      plugins.origin,
      [...plugins.entries].map(([name, node]) => [uriOf(name), node]),
    ),
  )
}

/** Anything but strings is left for the check of kinds. */
const withUris = ({ value, origin }: Leaf): Leaf => ({
  value: Array.isArray(value)
    ? value.map((item: unknown) => (typeof item === 'string' ? uriOf(item) : item))
    : value,
  origin,
})
