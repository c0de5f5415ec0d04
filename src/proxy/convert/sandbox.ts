import type { MessageInitShape } from '@bufbuild/protobuf'

import type { Sandbox } from '#core/sandbox/controller.ts'
import type { NewSandbox } from '#core/sandbox/store.ts'
import type { Sandbox as SandboxMessage, SandboxSchema } from '#gen/types/sandbox_pb.ts'

import { anyFromProto, anysFromProto } from './any.ts'
import { dateFromProto, dateToProto } from './timestamp.ts'

type Init = Exclude<MessageInitShape<typeof SandboxSchema>, SandboxMessage>

/** The record of a sandbox as it travels. */
export const sandboxToProto = (sandbox: Sandbox): Init => ({
  ...newSandboxToProto(sandbox),
  createdAt: dateToProto(sandbox.createdAt),
  updatedAt: dateToProto(sandbox.updatedAt),
})

/** The fields of a sandbox that its creator gives, as they travel. */
export const newSandboxToProto = (sandbox: NewSandbox): Init => ({
  sandboxId: sandbox.id,
  runtime: {
    name: sandbox.runtime.name,
    ...(sandbox.runtime.options && { options: sandbox.runtime.options }),
  },
  ...(sandbox.spec && { spec: sandbox.spec }),
  labels: { ...sandbox.labels },
  extensions: { ...sandbox.extensions },
  sandboxer: sandbox.sandboxer,
})

/** The fields of a sandbox that its creator gave; all empty without a message. */
export const newSandboxFromProto = (sandbox: SandboxMessage | undefined): NewSandbox => ({
  id: sandbox?.sandboxId ?? '',
  runtime: {
    name: sandbox?.runtime?.name ?? '',
    options: anyFromProto(sandbox?.runtime?.options),
  },
  spec: anyFromProto(sandbox?.spec),
  sandboxer: sandbox?.sandboxer ?? '',
  labels: sandbox?.labels ?? {},
  extensions: anysFromProto(sandbox?.extensions ?? {}),
})

/** The record in a message. */
export const sandboxFromProto = (sandbox: SandboxMessage | undefined): Sandbox => ({
  ...newSandboxFromProto(sandbox),
  createdAt: dateFromProto(sandbox?.createdAt),
  updatedAt: dateFromProto(sandbox?.updatedAt),
})
