/*
 * Archives of images, in tar.
 *
 * An OCI layout:                          What `docker save` wrote before it wrote those, too:
 *
 *     oci-layout            its version       manifest.json        [{ Config, RepoTags, Layers }, …]
 *     index.json            what there is     <hex>.json           a config
 *     blobs/sha256/<hex>    content           <id>/layer.tar       a layer, or a link to one
 *
 * containerd writes an OCI layout with a manifest.json beside it, whose paths are those of blobs.
 *
 * Source: OCI image-spec `image-layout.md`; moby `image/spec/v1.2.md`.
 */

export const layoutFile = 'oci-layout'
export const indexFile = 'index.json'
export const dockerFile = 'manifest.json'
export const blobsDir = 'blobs'

export const layoutVersion = '1.0.0'

/** Names an image in an index, in full. Source: upstream `core/images/annotations.go`. */
export const nameAnnotation = 'io.containerd.image.name'
/** Names an image in an index, often by its tag only. Source: OCI image-spec `annotations.md`. */
export const refNameAnnotation = 'org.opencontainers.image.ref.name'

/** JSON as Go writes it, so that what is made here has the digest that containerd's has. */
export const goJson = (value: unknown): Buffer =>
  Buffer.from(
    JSON.stringify(value).replace(
      /[<>&\u2028\u2029]/g,
      (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
    ),
  )
