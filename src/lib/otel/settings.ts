import { readFileSync } from 'node:fs'

import { invalidArgument } from '#lib/errors/errors.ts'

/** What the standard `OTEL_*` variables say about spans. Times in ms. */
export interface OtlpSettings {
  /** Where spans are sent to, complete. */
  readonly url: URL
  readonly transport: 'http' | 'grpc'
  readonly encoding: 'protobuf' | 'json'
  /** Of what is sent over HTTP. */
  readonly gzip: boolean
  readonly headers: Readonly<Record<string, string>>
  readonly timeoutMs: number
  /** PEM texts, for https. */
  readonly tls: { readonly ca?: string; readonly cert?: string; readonly key?: string }
  /** What the program is called, and whatever else is said about it. */
  readonly resource: Readonly<Record<string, string>>
  readonly sampler: SamplerSettings
  readonly queue: {
    readonly delayMs: number
    readonly maxBatch: number
    readonly maxSpans: number
  }
}

export interface SamplerSettings {
  /** The part of traces to record, 0 to 1. */
  readonly ratio: number
  /** Whether what the caller decided goes before that. */
  readonly byParent: boolean
}

type Environment = Readonly<Record<string, string | undefined>>

/**
 * Reads the variables of the OpenTelemetry specification (OTLP exporter, SDK environment). Without
 * an endpoint, or with OTEL_SDK_DISABLED, there is nothing to export.
 *
 * @throws `invalid_argument` for a value that cannot be done.
 */
export function readOtlpSettings(env: Environment, service: string): OtlpSettings | undefined {
  const get = (name: string): string =>
    env[`OTEL_EXPORTER_OTLP_TRACES_${name}`] || env[`OTEL_EXPORTER_OTLP_${name}`] || ''
  const protocol = get('PROTOCOL') || 'http/protobuf'
  const url = endpointOf(env, protocol)
  if (!url || /^true$/i.test(env['OTEL_SDK_DISABLED'] ?? '')) return undefined
  if (!['', 'otlp'].includes(env['OTEL_TRACES_EXPORTER'] ?? '')) return undefined
  return {
    url,
    transport: protocol === 'grpc' ? 'grpc' : 'http',
    encoding: encodingOf(protocol),
    gzip: get('COMPRESSION') === 'gzip',
    headers: parsePairs(get('HEADERS')),
    timeoutMs: numberOf(get('TIMEOUT'), 10_000),
    tls: tlsOf(get),
    resource: resourceOf(env, service),
    sampler: samplerOf(env['OTEL_TRACES_SAMPLER'] || 'parentbased_always_on', env),
    queue: {
      delayMs: numberOf(env['OTEL_BSP_SCHEDULE_DELAY'], 5_000),
      maxBatch: numberOf(env['OTEL_BSP_MAX_EXPORT_BATCH_SIZE'], 512),
      maxSpans: numberOf(env['OTEL_BSP_MAX_QUEUE_SIZE'], 2_048),
    },
  }
}

function endpointOf(env: Environment, protocol: string): URL | undefined {
  const own = env['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT']
  const all = env['OTEL_EXPORTER_OTLP_ENDPOINT']
  // Over gRPC the method says what is sent.
  const below = protocol === 'grpc' ? '' : '/v1/traces'
  const text = own || (all && `${all.replace(/\/$/, '')}${below}`)
  if (!text) return undefined
  const url = URL.parse(text)
  if (url && ['http:', 'https:'].includes(url.protocol)) return url
  throw invalidArgument(`invalid OpenTelemetry endpoint "${text}": it must be an http or https URL`)
}

function encodingOf(protocol: string): OtlpSettings['encoding'] {
  switch (protocol) {
    case 'grpc':
    case 'http/protobuf':
      return 'protobuf'
    case 'http/json':
      return 'json'
    default:
      throw invalidArgument(
        `unsupported OpenTelemetry protocol "${protocol}": use http/protobuf, http/json or grpc`,
      )
  }
}

function tlsOf(get: (name: string) => string): OtlpSettings['tls'] {
  const files = { ca: get('CERTIFICATE'), cert: get('CLIENT_CERTIFICATE'), key: get('CLIENT_KEY') }
  const named = Object.entries(files).filter(([, path]) => path !== '')
  return Object.fromEntries(named.map(([name, path]) => [name, readFileSync(path, 'utf8')]))
}

function resourceOf(env: Environment, service: string): Readonly<Record<string, string>> {
  const given = parsePairs(env['OTEL_RESOURCE_ATTRIBUTES'] ?? '')
  const name = env['OTEL_SERVICE_NAME'] || given['service.name'] || service
  return { ...given, 'service.name': name }
}

function samplerOf(name: string, env: Environment): SamplerSettings {
  const byParent = name.startsWith('parentbased_')
  switch (name.replace('parentbased_', '')) {
    case 'always_on':
      return { ratio: 1, byParent }
    case 'always_off':
      return { ratio: 0, byParent }
    case 'traceidratio': {
      const ratio = Number(env['OTEL_TRACES_SAMPLER_ARG'] || '1')
      if (ratio >= 0 && ratio <= 1) return { ratio, byParent }
      throw invalidArgument(`OTEL_TRACES_SAMPLER_ARG must be from 0 to 1, and is ${ratio}`)
    }
    default:
      throw invalidArgument(`unsupported OpenTelemetry sampler "${name}"`)
  }
}

/** `a=b,c=d`, values percent-encoded; what has no `=` is left out, as the specification has it. */
function parsePairs(text: string): Record<string, string> {
  const pairs = text.split(',').map((pair) => {
    const at = pair.indexOf('=')
    return at <= 0 ? [] : [[pair.slice(0, at).trim(), decode(pair.slice(at + 1).trim())]]
  })
  return Object.fromEntries(pairs.flat())
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // A bare percent sign: then it is not encoded.
    return text
  }
}

function numberOf(text: string | undefined, otherwise: number): number {
  const value = Number(text || Number.NaN)
  return Number.isFinite(value) && value > 0 ? value : otherwise
}
