import type { Descriptor } from '#core/images/images.ts'
import { isConfig, isIndex, isLayer, isManifest } from '#core/images/oci.ts'

const refName = 'org.opencontainers.image.ref.name'
const checkpointConfigs: readonly string[] = [
  'application/vnd.containerd.container.criu.checkpoint.criu.tar',
  'application/vnd.containerd.container.checkpoint.config.v1+proto',
]

/**
 * What the loading or sending of a descriptor is called: `layer-sha256:…`. It names uploads in the content
 * store and things in what is told of a transfer. Source: upstream `core/remotes/handlers.go`, `MakeRefKey`.
 */
export function refKey({ mediaType, digest, annotations = {} }: Descriptor): string {
  const name = Object.hasOwn(annotations, refName) ? `${annotations[refName]}@` : ''
  return `${kindOf(mediaType)}-${name}${digest}`
}

function kindOf(type: string): string {
  if (isManifest(type)) return 'manifest'
  if (isIndex(type)) return 'index'
  if (isLayer(type)) return 'layer'
  if (isConfig(type) || checkpointConfigs.includes(type)) return 'config'
  return type === 'application/vnd.in-toto+json' ? 'attestation' : 'unknown'
}
