/* The header values of gRPC over HTTP/2: deadlines, messages, status, metadata. */
import type { HeaderBlock, HeaderList } from '#lib/http2/header-block.ts'
import { ErrorCode } from '#lib/http2/protocol.ts'
import type { Status } from '#lib/rpc/status.ts'

const unitMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
}

/** A status message longer than this is cut: header blocks have a limit. */
const longestMessage = 16 * 1024

const reserved = new Set(['te', 'content-type', 'grpc-timeout', 'grpc-encoding'])

/** The `grpc-timeout` header in ms; undefined if it is malformed. */
export function parseTimeout(value: string): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(value)
  if (!match) return undefined
  const [, digits = '', unit = ''] = match
  return Number(digits) * (unitMs[unit] ?? 0)
}

/** `ms` as a `grpc-timeout` header: at most eight digits, never less than asked for. */
export function formatTimeout(ms: number): string {
  for (const unit of ['m', 'S', 'M']) {
    const value = Math.ceil(ms / (unitMs[unit] ?? 1))
    if (value < 1e8) return `${value}${unit}`
  }
  return `${Math.min(99_999_999, Math.ceil(ms / 3_600_000))}H`
}

/** A status message as `grpc-message`: printable ASCII stays, the rest of its UTF-8 is `%XX`. */
export function encodeMessage(message: string): string {
  const text = message.length > longestMessage ? message.slice(0, longestMessage) : message
  if (/^[ -$&-~]*$/.test(text)) return text
  let encoded = ''
  for (const byte of Buffer.from(text)) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25
    encoded += plain
      ? String.fromCharCode(byte)
      : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return encoded
}

/** The reverse of `encodeMessage`; what is not an escape is kept as it is. */
export function decodeMessage(value: string): string {
  if (!value.includes('%')) return value
  const latin = value.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
  return Buffer.from(latin, 'latin1').toString()
}

/** The status of a call that failed, as trailers. */
export const toTrailers = (status: Status): HeaderList => [
  'grpc-status',
  String(status.code),
  'grpc-message',
  encodeMessage(status.message),
]

/** The status in trailers, or undefined if they have none. */
export function statusIn(headers: HeaderBlock): Status | undefined {
  const value = headers.get('grpc-status')
  if (value === undefined) return undefined
  const text = decodeMessage(headers.get('grpc-message') ?? '')
  return { code: /^\d+$/.test(value) ? Number(value) : 2, message: text }
}

/**
 * The metadata in headers, without reserved names. Of a name that is repeated the first counts: Go's
 * clients put a new value before the older ones, and its servers take the first.
 */
export function toMetadata(headers: HeaderBlock): Map<string, string> {
  const { fields } = headers
  const metadata = new Map<string, string>()
  for (let at = 0; at < fields.length; at += 2) {
    const [name = '', value = ''] = [fields[at], fields[at + 1]]
    if (name.startsWith(':') || reserved.has(name) || metadata.has(name)) continue
    metadata.set(name, value)
  }
  return metadata
}

/** The status of a stream that was reset without one (PROTOCOL-HTTP2.md, "Errors"). */
export function statusOfReset(rstCode: number): Status {
  const message = `stream terminated by RST_STREAM with error code: ${rstCode}`
  if (rstCode === ErrorCode.cancel) return { code: 1, message }
  if (rstCode === ErrorCode.refusedStream) return { code: 14, message }
  return { code: rstCode === ErrorCode.enhanceYourCalm ? 8 : 13, message }
}

const httpStatus = new Map([
  [400, 13],
  [401, 16],
  [403, 7],
  [404, 12],
  [429, 14],
  [502, 14],
  [503, 14],
  [504, 14],
])

/** The status of a response that carries none (doc/http-grpc-status-mapping.md). */
export const statusOfHttp = (status: number): Status => ({
  code: httpStatus.get(status) ?? 2,
  message: `unexpected HTTP status code received from server: ${status}`,
})
