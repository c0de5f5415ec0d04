import type { Manifest, ManifestEntry } from '#core/images/oci.ts'

const prefix = 'containerd.io/snapshot/cri.'
/** Of a label and its value together. Source: upstream `pkg/labels/validate.go`. */
const mostBytes = 4096

/**
 * The layers of a manifest with what a snapshotter must know to get them itself: they become labels of
 * their snapshots. They are not the CRI's alone, whatever they are called.
 *
 * Source: upstream `pkg/snapshotters/annotations.go`.
 */
export const withSources = (
  { config, layers }: Manifest,
  reference: string,
  manifestDigest: string,
): Manifest => ({
  config,
  layers: layers.map((layer, i) => ({
    ...layer,
    annotations: {
      ...layer.annotations,
      [`${prefix}image-ref`]: reference,
      [`${prefix}manifest-digest`]: manifestDigest,
      [`${prefix}layer-digest`]: layer.digest,
      [`${prefix}image-layers`]: digestsOf(layers.slice(i), `${prefix}image-layers`),
    },
  })),
})

/** As many digests as a label holds. */
function digestsOf(layers: readonly ManifestEntry[], key: string): string {
  let text = ''
  for (const { digest } of layers) {
    const next = text === '' ? digest : `${text},${digest}`
    if (key.length + next.length > mostBytes) break
    text = next
  }
  return text
}
