import type { MessageInitShape } from '@bufbuild/protobuf'

import type { ProcessState, Status } from '#core/runtime/runtime.ts'
import {
  type Process as ProcessMessage,
  type ProcessSchema,
  Status as StatusNumber,
} from '#gen/types/task_pb.ts'

import { timestampFromProto, timestampToProto } from './timestamp.ts'

const statusToProto = {
  unknown: StatusNumber.UNKNOWN,
  created: StatusNumber.CREATED,
  running: StatusNumber.RUNNING,
  stopped: StatusNumber.STOPPED,
  paused: StatusNumber.PAUSED,
  pausing: StatusNumber.PAUSING,
} as const satisfies Record<Status, StatusNumber>

const statusFromNumber: ReadonlyMap<StatusNumber, Status> = new Map<StatusNumber, Status>([
  [StatusNumber.CREATED, 'created'],
  [StatusNumber.RUNNING, 'running'],
  [StatusNumber.STOPPED, 'stopped'],
  [StatusNumber.PAUSED, 'paused'],
  [StatusNumber.PAUSING, 'pausing'],
])

/** A process status in words; one that nobody defined is `unknown`. */
export const statusFromProto = (status: StatusNumber): Status =>
  statusFromNumber.get(status) ?? 'unknown'

/**
 * A process as it travels. The daemon names it by `id` alone, that of the exec or of the container;
 * upstream never fills `container_id` in.
 */
export const processToProto = (state: ProcessState): MessageInitShape<typeof ProcessSchema> => ({
  id: state.execId || state.containerId,
  pid: state.pid,
  status: statusToProto[state.status],
  stdin: state.stdin,
  stdout: state.stdout,
  stderr: state.stderr,
  terminal: state.terminal,
  exitStatus: state.exitStatus,
  exitedAt: timestampToProto(state.exitedAt),
})

/** The process in a message, which the caller knows the container of. */
export const processFromProto = (
  process: ProcessMessage | undefined,
  containerId: string,
): ProcessState => {
  const id = process?.id ?? containerId
  return {
    containerId,
    execId: id === containerId ? '' : id,
    bundle: '',
    pid: process?.pid ?? 0,
    status: statusFromProto(process?.status ?? StatusNumber.UNKNOWN),
    stdin: process?.stdin ?? '',
    stdout: process?.stdout ?? '',
    stderr: process?.stderr ?? '',
    terminal: process?.terminal ?? false,
    exitStatus: process?.exitStatus ?? 0,
    exitedAt: timestampFromProto(process?.exitedAt),
  }
}
