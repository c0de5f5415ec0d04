import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf'

import type { Announcement, EventEncoder } from '#core/metadata/announce.ts'
import { ContentCreateSchema } from '#gen/events/content_pb.ts'
import { ImageDeleteSchema } from '#gen/events/image_pb.ts'
import {
  SnapshotCommitSchema,
  SnapshotPrepareSchema,
  SnapshotRemoveSchema,
} from '#gen/events/snapshot_pb.ts'
import { pack } from '#proxy/convert/pack.ts'

/** The events of metadata as containerd's messages. Source: upstream `api/events`. */
export const eventEncoder: EventEncoder = {
  contentCreated: ({ digest, size, mediaType }) =>
    announcement('/content/create', ContentCreateSchema, { digest, size: BigInt(size), mediaType }),
  imageDeleted: (image) => announcement('/images/delete', ImageDeleteSchema, image),
  snapshotPrepared: (snapshot) =>
    announcement('/snapshot/prepare', SnapshotPrepareSchema, snapshot),
  snapshotCommitted: (snapshot) => announcement('/snapshot/commit', SnapshotCommitSchema, snapshot),
  snapshotRemoved: (snapshot) => announcement('/snapshot/remove', SnapshotRemoveSchema, snapshot),
}

const announcement = <S extends DescMessage>(
  topic: string,
  schema: S,
  init: MessageInitShape<S>,
): Announcement => ({ topic, event: pack(schema, init) })
