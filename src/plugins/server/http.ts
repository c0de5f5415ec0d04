import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { ListenOptions } from 'node:net'

import type { Logger } from '#core/context.ts'
import { describe } from '#lib/errors/errors.ts'
import type { HttpHandler } from '#plugins/types.ts'

/** How long a stop waits for requests that are being answered, in ms. */
const stopMs = 1000

/** An HTTP server that listens. Disposal closes it, and what is still connected soon after. */
export interface HttpServer extends AsyncDisposable {
  /** The TCP port, or undefined on a unix socket. */
  readonly port: number | undefined
}

/**
 * Answers HTTP requests with `handler`; a request whose handler throws is answered with 500.
 *
 * @throws the system's error (EADDRINUSE, EACCES, …) if it cannot listen.
 */
export async function listenHttp(
  where: ListenOptions,
  handler: HttpHandler,
  log: Logger,
): Promise<HttpServer> {
  const server = createServer((request, response) => {
    handler(request, response).catch((err: unknown) => {
      log.warn('http request failed', { url: request.url, error: describe(err) })
      if (!response.headersSent) response.writeHead(500, { 'content-type': 'text/plain' })
      response.end(`${describe(err)}\n`)
    })
  })
  server.listen(where)
  await once(server, 'listening')
  server.on('error', (err) => log.warn('http connection failed', { error: err }))
  return {
    get port() {
      const address = server.address()
      return typeof address === 'object' ? address?.port : undefined
    },
    [Symbol.asyncDispose]: async () => await close(server),
  }
}

async function close(server: Server): Promise<void> {
  if (!server.listening) return
  const closed = once(server, 'close')
  server.close()
  server.closeIdleConnections()
  using _late = setTimeout(() => server.closeAllConnections(), stopMs)
  await closed
}
