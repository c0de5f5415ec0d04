import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'

import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes } from '#core/images/oci.ts'
import { RegistryClient, type RegistryClientOptions } from '#core/remotes/client.ts'
import type { Body } from '#core/remotes/remotes.ts'
import { digestOf } from '#lib/digest/digest.ts'

import { newContext } from './context.ts'

/** What one does with a request; `path` is below `/v2/`. */
export type Handler = (request: IncomingMessage, response: ServerResponse, path: string) => unknown

/** A registry that does as it is told, and remembers what it was asked. */
export class Hostile implements AsyncDisposable {
  readonly #server
  readonly asked: { readonly method: string; readonly url: string; readonly auth: string }[] = []
  host = ''

  private constructor(handler: Handler) {
    this.#server = createServer({ maxHeaderSize: 1 << 20 }, (request, response) => {
      const { method = '', url = '' } = request
      this.asked.push({ method, url, auth: request.headers.authorization ?? '' })
      response.on('error', () => undefined)
      handler(request, response, url.replace(/^\/v2\//, ''))
    })
  }

  static async open(handler: Handler): Promise<Hostile> {
    const hostile = new Hostile(handler)
    hostile.#server.listen(0, '127.0.0.1')
    await once(hostile.#server, 'listening')
    const address = hostile.#server.address()
    hostile.host = `127.0.0.1:${typeof address === 'object' ? address?.port : 0}`
    return hostile
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

/** A client that waits for nobody long. */
export const openClient = (options: RegistryClientOptions = {}): RegistryClient =>
  new RegistryClient({
    scheme: 'http',
    retry: { attempts: 3, firstWaitMs: 1, longestWaitMs: 2000 },
    timeouts: { headersMs: 2000, idleMs: 500, documentMs: 2000 },
    ...options,
  })

export const blob = randomBytes(200_000)
/** What `blob` is. */
export const layer: Descriptor = {
  mediaType: 'application/vnd.oci.image.layer.v1.tar',
  digest: digestOf(blob),
  size: blob.length,
}
/** An index of nothing. */
export const index = Buffer.from(
  JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [] }),
)

export async function readAll(body: Body): Promise<Buffer> {
  await using reading = body
  return Buffer.concat(await Array.fromAsync(reading))
}

/** What becomes of fetching `layer` from a registry that does `handler`. */
export async function fetchLayer(
  t: { signal: AbortSignal },
  handler: Handler,
  options?: RegistryClientOptions,
): Promise<Buffer> {
  await using hostile = await Hostile.open(handler)
  await using client = openClient(options)
  const ctx = newContext(t)
  const fetcher = await client.fetcher(ctx, `${hostile.host}/a/b:1`)
  return await readAll(await fetcher.fetch(ctx, layer))
}

/** What becomes of resolving a tag at one. */
export async function resolve(
  t: { signal: AbortSignal },
  handler: Handler,
  options?: RegistryClientOptions,
): Promise<Descriptor> {
  await using hostile = await Hostile.open(handler)
  await using client = openClient(options)
  return (await client.resolve(newContext(t), `${hostile.host}/a/b:1`)).target
}

/** Sends `chunk` for as long as somebody takes it. */
export function flood(response: ServerResponse, chunk: Buffer): void {
  const more = (): void => {
    while (!response.destroyed && response.write(chunk));
  }
  response.on('drain', more)
  more()
}

/** The first byte of a range that is asked for. */
export const offsetOf = (request: IncomingMessage): number =>
  Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0)
