import type { Store } from '#core/content/content.ts'
import { writeBlob } from '#core/content/write-blob.ts'
import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes, parseObject } from '#core/images/oci.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

import { decompressed } from './decompress.ts'
import { type DockerOptions, indexDockerArchive } from './docker.ts'
import { ingest, type Ingested } from './ingest.ts'
import { dockerFile, indexFile, layoutFile, layoutVersion } from './layout.ts'

/**
 * Reads an OCI layout or a `docker save` archive into the content store. One that is both is taken for the
 * first. Nothing holds what it brings but the caller's lease.
 *
 * Source: upstream `core/images/archive/importer.go`.
 *
 * @returns the descriptor of the index of what was in it.
 * @throws `invalid_argument` for an archive that is neither; what `ingest` says.
 */
export async function importArchive(
  ctx: Context,
  content: Store,
  bytes: AsyncIterable<Uint8Array>,
  options: DockerOptions,
): Promise<Descriptor> {
  const ingested = await ingest(ctx, content, await decompressed(bytes))
  const { documents } = ingested
  const layout = documents.get(layoutFile)
  if (layout) return await ociIndex(ctx, content, documents, layout)
  if (!documents.has(dockerFile)) {
    throw invalidArgument(
      `unrecognized image format: the archive has neither ${layoutFile} nor ${dockerFile}`,
    )
  }
  return await indexDockerArchive(ctx, content, ingested, options)
}

async function ociIndex(
  ctx: Context,
  content: Store,
  documents: Ingested['documents'],
  layout: Uint8Array,
): Promise<Descriptor> {
  const version = parseObject(layout, layoutFile)['imageLayoutVersion']
  if (version !== layoutVersion) {
    throw invalidArgument(`unsupported OCI version ${JSON.stringify(version)}`)
  }
  const bytes = documents.get(indexFile)
  if (!bytes) throw invalidArgument(`missing ${indexFile} in OCI layout ${layoutVersion}`)
  const [digest, size] = [digestOf(bytes), bytes.length]
  await writeBlob(ctx, content, [bytes], { ref: `tar-${indexFile}-${digest}`, size, digest })
  return { mediaType: mediaTypes.ociIndex, digest, size }
}
