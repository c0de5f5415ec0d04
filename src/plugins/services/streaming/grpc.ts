import { EmptySchema } from '@bufbuild/protobuf/wkt'

import type { Any } from '#core/any/any.ts'
import type { StreamManager } from '#core/streaming/streaming.ts'
import { StreamInitSchema, Streaming } from '#gen/services/streaming_pb.ts'
import { CodedError } from '#lib/errors/errors.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, type RpcContext, StreamingPlugin } from '#plugins/types.ts'
import { pack, unpack } from '#proxy/convert/pack.ts'

import { CallStream } from './call-stream.ts'

/*
 * One call for each stream:
 *
 *   client  StreamInit id          Any …
 *   server               Empty     Any …
 *
 * The answer says that the id is known now. The call ends when the client leaves or whoever uses the
 * stream closes it. Source: upstream `plugins/services/streaming/service.go`.
 */

/** The service `containerd.services.streaming.v1.Streaming`. */
export const streamingApi = (streams: StreamManager): RegisteredService<RpcContext> =>
  implement(Streaming, {
    async *stream(requests, ctx) {
      const iterator = requests[Symbol.asyncIterator]()
      const first = await iterator.next()
      if (first.done) throw new CodedError('unknown', 'EOF')
      const id = idOf(first.value)
      const stream = new CallStream(iterator)
      using scope = new DisposableStack()
      scope.defer(() => stream.close())
      scope.use(streams.register(ctx, id, stream))
      ctx.log.debug('registering stream', { stream: id })
      const leave = (): void => stream.close()
      ctx.signal.addEventListener('abort', leave)
      scope.defer(() => ctx.signal.removeEventListener('abort', leave))
      yield pack(EmptySchema, {})
      yield* stream.answers
    },
  })

/** Types are compared as they are: upstream takes no host before the name here. */
function idOf(first: Any): string {
  if (first.typeUrl === StreamInitSchema.typeName) return unpack(StreamInitSchema, first).id
  const [given, wanted] = [first.typeUrl, StreamInitSchema.typeName].map((it) => JSON.stringify(it))
  throw new CodedError('unknown', `can't unmarshal type ${given} to output ${wanted}`)
}

/** `io.containerd.grpc.v1.streaming`. */
export const streamingApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'streaming',
  requires: { streams: StreamingPlugin },
  init: ({ deps }) => ({ grpc: [streamingApi(deps.streams)] }),
})
