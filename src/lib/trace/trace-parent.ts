/** What names a span across processes. */
export interface Parent {
  /** 32 hex digits. */
  readonly traceId: string
  /** 16 hex digits. */
  readonly spanId: string
  /** Whether the caller records. */
  readonly sampled: boolean
}

/*
 * The header `traceparent`, W3C Trace Context §3.2:
 *
 *     00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
 *     version  trace id                  span id          flags (bit 0: sampled)
 */
const form = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/

/** Reads a `traceparent`; undefined for one that is not valid, which is as good as none. */
export function parseTraceParent(text: string | undefined): Parent | undefined {
  const [, version, traceId = '', spanId = '', flags = '', more] = form.exec(text ?? '') ?? []
  if (version === undefined || version === 'ff' || (version === '00' && more)) return undefined
  if (/^0*$/.test(traceId) || /^0*$/.test(spanId)) return undefined
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 }
}

/** Writes a `traceparent`. */
export const formatTraceParent = ({ traceId, spanId, sampled }: Parent): string =>
  `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`
