/*
 * The numbers of HTTP/2 (RFC 9113). Everything on a connection is a frame:
 *
 *   +------------------+-----------+------------+-+---------------+---------------------+
 *   | length (24, b.e.)| type (8)  | flags (8)  |R| stream (31)   | payload (length)    |
 *   +------------------+-----------+------------+-+---------------+---------------------+
 *
 *   DATA           [pad length (8)] data [padding]
 *   HEADERS        [pad length (8)] [E, dependency (32), weight (8)] block fragment [padding]
 *   PRIORITY       E, dependency (32), weight (8)                            ignored
 *   RST_STREAM     error code (32)
 *   SETTINGS       (id (16), value (32))*                                    stream 0
 *   PUSH_PROMISE   refused: we never allow it
 *   PING           opaque (64)                                               stream 0
 *   GOAWAY         R, last stream (31), error code (32), debug data          stream 0
 *   WINDOW_UPDATE  R, increment (31)
 *   CONTINUATION   block fragment                   right behind its HEADERS, nothing between
 *
 * A client begins with `preface`, and both begin with SETTINGS.
 */

/** Frame types, RFC 9113 §6. */
export const FrameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const

/** Frame flags; what a bit means depends on the type. */
export const Flag = {
  /** Of SETTINGS and PING. */
  ack: 0x1,
  /** Of DATA and HEADERS. */
  endStream: 0x1,
  /** Of HEADERS and CONTINUATION. */
  endHeaders: 0x4,
  /** Of DATA and HEADERS. */
  padded: 0x8,
  /** Of HEADERS. */
  priority: 0x20,
} as const

/** Error codes of RST_STREAM and GOAWAY, RFC 9113 §7. */
export const ErrorCode = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  connectError: 10,
  enhanceYourCalm: 11,
  inadequateSecurity: 12,
  http11Required: 13,
} as const

/** Settings, RFC 9113 §6.5.2. */
export const Setting = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
} as const

/** What a client sends first, RFC 9113 §3.4. */
export const preface: Buffer = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')

export const frameHeaderBytes = 9

/** The windows of both ends before SETTINGS say otherwise. */
export const defaultWindowBytes = 65_535

/** The longest payload before SETTINGS say otherwise, and the least a peer may set. */
export const defaultFrameBytes = 16_384

export const longestFrameBytes = 2 ** 24 - 1
export const largestWindowBytes = 2 ** 31 - 1
export const largestStreamId = 2 ** 31 - 1

/** A violation that ends the connection: `errorCode` goes into the GOAWAY. */
export class Http2Error extends Error {
  override readonly name = 'Http2Error'
  readonly errorCode: number

  constructor(errorCode: number, message: string, options?: ErrorOptions) {
    super(message, options)
    this.errorCode = errorCode
  }
}
