import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Container, NewContainer } from '#core/containers/containers.ts'
import type { Container as ContainerMessage, ContainerSchema } from '#gen/services/containers_pb.ts'

import { anyFromProto, anysFromProto } from './any.ts'
import { dateFromProto, dateToProto } from './timestamp.ts'

type Init = Exclude<MessageInitShape<typeof ContainerSchema>, ContainerMessage>

/** The fields of a container that its creator gives, as they travel. */
export const newContainerToProto = (container: NewContainer): Init => ({
  id: container.id,
  labels: { ...container.labels },
  image: container.image,
  runtime: { name: container.runtime.name, options: container.runtime.options },
  spec: container.spec,
  snapshotter: container.snapshotter,
  snapshotKey: container.snapshotKey,
  extensions: { ...container.extensions },
  sandbox: container.sandbox,
})

/** A container as it travels. */
export const containerToProto = (container: Container): Init => ({
  ...newContainerToProto(container),
  createdAt: dateToProto(container.createdAt),
  updatedAt: dateToProto(container.updatedAt),
})

/** The fields of a container that its creator gave; all empty without a message. */
export const newContainerFromProto = (container: ContainerMessage | undefined): NewContainer => ({
  id: container?.id ?? '',
  labels: container?.labels ?? {},
  image: container?.image ?? '',
  runtime: {
    name: container?.runtime?.name ?? '',
    options: anyFromProto(container?.runtime?.options),
  },
  spec: anyFromProto(container?.spec),
  snapshotter: container?.snapshotter ?? '',
  snapshotKey: container?.snapshotKey ?? '',
  extensions: anysFromProto(container?.extensions ?? {}),
  sandbox: container?.sandbox ?? '',
})

/** The container in a message. */
export const containerFromProto = (container: ContainerMessage | undefined): Container => ({
  ...newContainerFromProto(container),
  createdAt: dateFromProto(container?.createdAt),
  updatedAt: dateFromProto(container?.updatedAt),
})
