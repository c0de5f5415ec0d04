import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Activation, ActiveMount } from '#core/mount/manager.ts'
import type {
  ActivationInfo,
  ActivationInfoSchema,
  ActiveMount as ActiveMountMessage,
} from '#gen/types/mount_pb.ts'

import { mountsFromProto, mountsToProto } from './mount.ts'
import { dateFromProto, dateToProto } from './timestamp.ts'

/** An activation as it travels. */
export const activationToProto = (
  activation: Activation,
): MessageInitShape<typeof ActivationInfoSchema> => ({
  name: activation.name,
  active: activation.active.map(({ mountedAt, mountPoint, data, ...mount }) => {
    const [message] = mountsToProto([mount])
    return {
      ...(message && { mount: message }),
      mountedAt: dateToProto(mountedAt),
      mountPoint,
      data: { ...data },
    }
  }),
  system: mountsToProto(activation.system),
  labels: { ...activation.labels },
})

/** The activation in a message. */
export const activationFromProto = (info: ActivationInfo | undefined): Activation => ({
  name: info?.name ?? '',
  active: info?.active.map(activeFromProto) ?? [],
  system: mountsFromProto(info?.system ?? []),
  labels: info?.labels ?? {},
})

function activeFromProto({ mount, mountedAt, mountPoint, data }: ActiveMountMessage): ActiveMount {
  const [plain = { type: '', source: '', options: [] }] = mountsFromProto(mount ? [mount] : [])
  return {
    ...plain,
    mountedAt: dateFromProto(mountedAt),
    mountPoint,
    ...(Object.keys(data).length > 0 && { data }),
  }
}
