import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { gzipSync } from 'node:zlib'

import { hostPlatform } from '#core/platforms/platforms.ts'
import { endOfArchive, encodeHeader, paddingOf } from '#lib/tar/writer.ts'
import { archive, file } from '#testing/layer-archive.ts'

const oci = (kind: string): string => `application/vnd.oci.image.${kind}`

/** Files of a tar archive, in order. A name may come twice. */
export function tarOf(files: Iterable<readonly [name: string, bytes: Uint8Array]>): Buffer {
  const parts: Uint8Array[] = []
  for (const [name, bytes] of files) {
    const header = encodeHeader({ type: 'file', name, mode: 0o644, size: bytes.length })
    parts.push(header, bytes, new Uint8Array(paddingOf(bytes.length)))
  }
  return Buffer.concat([...parts, endOfArchive])
}

export interface TestDescriptor {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
  readonly platform?: object
  readonly annotations?: Readonly<Record<string, string>>
}

/** Collects the blobs of an OCI layout. */
export class Layout {
  readonly files: [string, Uint8Array][] = [
    ['oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}')],
  ]

  put(mediaType: string, bytes: Uint8Array): TestDescriptor {
    const hex = createHash('sha256').update(bytes).digest('hex')
    this.files.push([`blobs/sha256/${hex}`, bytes])
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length }
  }

  json(kind: string, value: object): TestDescriptor {
    return this.put(oci(kind), Buffer.from(JSON.stringify(value)))
  }

  /** An image of one small layer, with `text` in it, for a platform. */
  image(
    text: string,
    { os, architecture }: { readonly os: string; readonly architecture: string },
  ) {
    const layer = archive(file('text', text))
    const diffId = `sha256:${createHash('sha256').update(layer).digest('hex')}`
    const config = { os, architecture, rootfs: { type: 'layers', diff_ids: [diffId] } }
    const manifest = {
      schemaVersion: 2,
      mediaType: oci('manifest.v1+json'),
      config: this.json('config.v1+json', config),
      layers: [this.put(oci('layer.v1.tar+gzip'), gzipSync(layer))],
    }
    const made = this.json('manifest.v1+json', manifest)
    return { ...made, platform: { os, architecture } }
  }

  /** The bytes of the archive. */
  tar(manifests: readonly object[]): Buffer {
    const index = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests }))
    return tarOf([...this.files, ['index.json', index]])
  }
}

/**
 * An archive with an image for many platforms, of which that of this machine and a foreign one are there, and
 * a third is not.
 */
export async function writeIndexArchive(path: string): Promise<void> {
  const layout = new Layout()
  const ours = layout.image('for this machine', hostPlatform)
  const other = layout.image('for another', { os: 'linux', architecture: 's390x' })
  const missing = new Layout().image('gone', { os: 'linux', architecture: 'mips' })
  const index = layout.json('index.v1+json', {
    schemaVersion: 2,
    mediaType: oci('index.v1+json'),
    manifests: [other, ours, missing],
  })
  const annotations = { 'org.opencontainers.image.ref.name': 'example.com/many:1' }
  await writeFile(path, layout.tar([{ ...index, annotations }]))
}
