import type { DescMethodUnary, Message, MessageInitShape, MessageShape } from '@bufbuild/protobuf'

import { Task as TaskV2 } from '#gen/shim/task-v2_pb.ts'
import { Task as TaskV3 } from '#gen/shim/task-v3_pb.ts'
import type { CallOptions, Connection } from '#lib/rpc/rpc.ts'

type Methods = (typeof TaskV3)['method']

type Init<T> = Exclude<T, Message>
type Fields<T> = Omit<T, '$typeName' | '$unknown'>

/** The task API of a shim. Both generations have the same methods and fields under two names. */
export type TaskCalls = {
  readonly [K in keyof Methods]: Methods[K] extends DescMethodUnary<infer I, infer O>
    ? (
        request: Init<MessageInitShape<I>>,
        options?: CallOptions,
      ) => Promise<Fields<MessageShape<O>>>
    : never
}

/** The task API in its generation 2 or 3. */
export const taskCalls = (connection: Connection, version: number): TaskCalls =>
  version >= 3 ? connection.client(TaskV3) : connection.client(TaskV2)
