import type { DescMessage, MessageShape } from '@bufbuild/protobuf'

import type { Any } from '#core/any/any.ts'
import { type ImageStore, ImageStoreSchema } from '#gen/types/transfer/imagestore_pb.ts'
import {
  type ImageExportStream,
  ImageExportStreamSchema,
  type ImageImportStream,
  ImageImportStreamSchema,
} from '#gen/types/transfer/importexport_pb.ts'
import { type OCIRegistry, OCIRegistrySchema } from '#gen/types/transfer/registry_pb.ts'
import { unpack } from '#proxy/convert/pack.ts'

/** One end of a transfer, as a client describes it. */
export type End =
  | { readonly kind: 'registry'; readonly message: OCIRegistry }
  | { readonly kind: 'images'; readonly message: ImageStore }
  | { readonly kind: 'archive-in'; readonly message: ImageImportStream }
  | { readonly kind: 'archive-out'; readonly message: ImageExportStream }
  | { readonly kind: 'other' }

/**
 * What `any` describes. Types are compared as they are: upstream takes no host before the name here.
 *
 * @throws `invalid_argument` for bytes that are no such message.
 */
export function endOf(any: Any | undefined): End {
  const is = <S extends DescMessage>(schema: S): MessageShape<S> | undefined =>
    any?.typeUrl === schema.typeName ? unpack(schema, any) : undefined
  const registry = is(OCIRegistrySchema)
  if (registry) return { kind: 'registry', message: registry }
  const images = is(ImageStoreSchema)
  if (images) return { kind: 'images', message: images }
  const imported = is(ImageImportStreamSchema)
  if (imported) return { kind: 'archive-in', message: imported }
  const exported = is(ImageExportStreamSchema)
  return exported ? { kind: 'archive-out', message: exported } : { kind: 'other' }
}
