import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** A span as a collector gets it in OTLP's JSON. */
export interface CollectedSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly status: { readonly code: number }
  /** `service.name` of the process. */
  readonly service: string
}

/** A collector of OpenTelemetry, on loopback. */
export interface Collector extends AsyncDisposable {
  /** What OTEL_EXPORTER_OTLP_ENDPOINT has to be. */
  readonly endpoint: string
  readonly spans: readonly CollectedSpan[]
  /** What has come: header fields and bodies. */
  readonly requests: readonly { readonly headers: NodeJS.Dict<string | string[]>; body: Buffer }[]
  /** Waits for a span that `matches`. @throws after 20 s */
  find(matches: (span: CollectedSpan) => boolean): Promise<CollectedSpan>
}

const findMs = 20_000

/** Starts a collector; bodies in JSON become `spans`. It answers with `statuses` in turn, then 200. */
export async function startCollector(statuses: readonly number[] = []): Promise<Collector> {
  const spans: CollectedSpan[] = []
  const requests: { headers: NodeJS.Dict<string | string[]>; body: Buffer }[] = []
  const take = (headers: NodeJS.Dict<string | string[]>, body: Buffer): number => {
    const status = statuses[requests.length] ?? 200
    requests.push({ headers, body })
    const json = headers['content-type'] === 'application/json'
    if (json && status === 200) spans.push(...readSpans(body.toString()))
    return status
  }
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      response.writeHead(take(request.headers, Buffer.concat(chunks))).end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it listens on TCP
  const { port } = server.address() as AddressInfo
  return {
    endpoint: `http://127.0.0.1:${port}`,
    spans,
    requests,
    async find(matches) {
      const signal = AbortSignal.timeout(findMs)
      for (;;) {
        const found = spans.find(matches)
        if (found) return found
        await sleep(20, undefined, { signal })
      }
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await server[Symbol.asyncDispose]()
    },
  }
}

interface Body {
  readonly resourceSpans: readonly {
    readonly resource: {
      readonly attributes: readonly { key: string; value: { stringValue: string } }[]
    }
    readonly scopeSpans: readonly { readonly spans: readonly CollectedSpan[] }[]
  }[]
}

function readSpans(text: string): CollectedSpan[] {
  const body: Body = JSON.parse(text)
  return body.resourceSpans.flatMap(({ resource, scopeSpans }) => {
    const name = resource.attributes.find(({ key }) => key === 'service.name')
    const service = name?.value.stringValue ?? ''
    return scopeSpans.flatMap((scope) => scope.spans.map((span) => ({ ...span, service })))
  })
}
