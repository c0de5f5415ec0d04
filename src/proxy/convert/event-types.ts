import { type Registry, createRegistry } from '@bufbuild/protobuf'

import { file_events_container } from '#gen/events/container_pb.ts'
import { file_events_content } from '#gen/events/content_pb.ts'
import { file_events_image } from '#gen/events/image_pb.ts'
import { file_events_namespace } from '#gen/events/namespace_pb.ts'
import { file_events_sandbox } from '#gen/events/sandbox_pb.ts'
import { file_events_snapshot } from '#gen/events/snapshot_pb.ts'
import { file_events_task } from '#gen/events/task_pb.ts'

const files = [
  file_events_container,
  file_events_content,
  file_events_image,
  file_events_namespace,
  file_events_sandbox,
  file_events_snapshot,
  file_events_task,
] as const

let registry: Registry | undefined

/** The types of what events are about. Made when it is first asked for: it reads every descriptor. */
export function eventTypes(): Registry {
  registry ??= createRegistry(...files)
  return registry
}
