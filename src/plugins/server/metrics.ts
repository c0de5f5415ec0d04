import { processMetrics } from '#lib/metrics/metrics.ts'
import { SkipPlugin, definePlugin } from '#plugin/plugin.ts'
import { type HttpHandler, ServerPlugin } from '#plugins/types.ts'

import { tcpAddress } from './address.ts'
import { listenHttp } from './http.ts'
import { type Exposition, exposition } from './metrics/render.ts'

/** `io.containerd.server.v1.metrics`: `GET /v1/metrics`, for Prometheus. */
export const metricsServerPlugin = definePlugin({
  type: ServerPlugin,
  id: 'metrics',
  config: {
    /** `host:port`; empty for none. There is no access control: choose who can reach it. */
    address: '',
  },
  describe: { address: 'host:port for GET /v1/metrics; empty for none' },

  init({ ctx: { log }, config, meta }) {
    if (config.address === '') throw new SkipPlugin('no address for metrics is configured')
    const { host, port } = tcpAddress(config.address)
    const scope = new AsyncDisposableStack()
    return {
      async listen() {
        const handler = answer(await exposition(processMetrics))
        const server = scope.use(await listenHttp({ host, port }, handler, log))
        const address = `${host ?? ''}:${server.port}`
        meta.exports['address'] = address
        log.info('serving...', { address })
      },
      [Symbol.asyncDispose]: async () => await scope.disposeAsync(),
    }
  },
})

const answer =
  (told: Exposition): HttpHandler =>
  async ({ url = '', method }, response) => {
    const found = url.split('?')[0] === '/v1/metrics'
    const allowed = method === 'GET' || method === 'HEAD'
    if (!found || !allowed) {
      response.writeHead(found ? 405 : 404, { 'content-type': 'text/plain; charset=utf-8' })
      response.end(found ? 'only GET is answered here\n' : 'metrics are at /v1/metrics\n')
      return
    }
    const body = await told.text()
    response.writeHead(200, { 'content-type': told.contentType })
    response.end(body)
  }
