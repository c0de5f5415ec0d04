import { type DescMessage, type MessageInitShape, create, toBinary } from '@bufbuild/protobuf'

import type { Announcement, EventEncoder } from '#core/metadata/announce.ts'
import { ContentCreateSchema, ContentDeleteSchema } from '#gen/events/content_pb.ts'
import { ImageDeleteSchema } from '#gen/events/image_pb.ts'
import {
  SnapshotCommitSchema,
  SnapshotPrepareSchema,
  SnapshotRemoveSchema,
} from '#gen/events/snapshot_pb.ts'

/** The events of metadata as containerd's messages. Source: upstream `api/events`. */
export const eventEncoder: EventEncoder = {
  contentCreated: ({ digest, size }) =>
    announcement('/content/create', ContentCreateSchema, { digest, size: BigInt(size) }),
  contentDeleted: (content) => announcement('/content/delete', ContentDeleteSchema, content),
  imageDeleted: (image) => announcement('/images/delete', ImageDeleteSchema, image),
  snapshotPrepared: (snapshot) =>
    announcement('/snapshot/prepare', SnapshotPrepareSchema, snapshot),
  snapshotCommitted: (snapshot) => announcement('/snapshot/commit', SnapshotCommitSchema, snapshot),
  snapshotRemoved: (snapshot) => announcement('/snapshot/remove', SnapshotRemoveSchema, snapshot),
}

function announcement<S extends DescMessage>(
  topic: string,
  schema: S,
  init: MessageInitShape<S>,
): Announcement {
  const value = toBinary(schema, create(schema, init))
  return { topic, event: { typeUrl: schema.typeName, value } }
}
