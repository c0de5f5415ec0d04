import { Health, HealthCheckResponse_ServingStatus as Serving } from '#gen/grpc/health_pb.ts'
import { untilAborted } from '#lib/async/until-aborted.ts'
import { CodedError } from '#lib/errors/errors.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, type RpcContext } from '#plugins/types.ts'

/** The daemon as a whole; it is the only thing whose health is told. */
const everything = ''

/**
 * The service `grpc.health.v1.Health`: who gets an answer, gets `SERVING`.
 *
 * Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
 */
export const healthApi = (): RegisteredService<RpcContext> =>
  implement(Health, {
    check({ service }) {
      if (service !== everything) throw new CodedError('not_found', 'unknown service')
      return { status: Serving.SERVING }
    },
    list: () => ({ statuses: { [everything]: { status: Serving.SERVING } } }),
    async *watch({ service }, ctx) {
      yield { status: service === everything ? Serving.SERVING : Serving.SERVICE_UNKNOWN }
      await untilAborted(ctx.signal)
    },
  })

/** `io.containerd.grpc.v1.healthcheck`. */
export const healthApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'healthcheck',
  init: () => ({ grpc: [healthApi()] }),
})
