import { type ManifestEntry, isConfig, isLayer, isManifest } from './oci.ts'

const prefix = 'containerd.io/gc.ref.content.'

/**
 * The labels by which a manifest or index keeps its content from the collector, one per child: `config`,
 * `m.0`, `l.0`, `l.1`, … by what it is. Source: upstream `core/images/handlers.go`.
 */
export function referenceLabels(children: readonly ManifestEntry[]): Record<string, string> {
  const counts = new Map<string, number>()
  const labels: Record<string, string> = {}
  for (const child of children) {
    const kind = kindOf(child.mediaType)
    const index = counts.get(kind) ?? 0
    counts.set(kind, index + 1)
    const numbered = kind === 'config' && index === 0 ? kind : `${kind}${index}`
    labels[`${prefix}${numbered}`] = child.digest
  }
  return labels
}

function kindOf(mediaType: string): string {
  if (isConfig(mediaType)) return 'config'
  if (isManifest(mediaType)) return 'm.'
  return isLayer(mediaType) ? 'l.' : ''
}
