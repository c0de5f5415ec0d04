import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Sandbox } from '#core/sandbox/controller.ts'
import type { SandboxSchema } from '#gen/types/sandbox_pb.ts'

import { dateToProto } from './timestamp.ts'

/** The record of a sandbox as it travels. */
export const sandboxToProto = (sandbox: Sandbox): MessageInitShape<typeof SandboxSchema> => ({
  sandboxId: sandbox.id,
  runtime: {
    name: sandbox.runtime.name,
    ...(sandbox.runtime.options && { options: sandbox.runtime.options }),
  },
  ...(sandbox.spec && { spec: sandbox.spec }),
  labels: { ...sandbox.labels },
  createdAt: dateToProto(sandbox.createdAt),
  updatedAt: dateToProto(sandbox.updatedAt),
  extensions: { ...sandbox.extensions },
  sandboxer: sandbox.sandboxer,
})
