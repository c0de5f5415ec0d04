import {
  ErrorCode,
  Http2Error,
  Setting,
  defaultFrameBytes,
  largestWindowBytes,
  longestFrameBytes,
} from './protocol.ts'

/** The settings of a peer that matter to us; undefined until it has told. */
export interface Settings {
  headerTableSize?: number
  maxConcurrentStreams?: number
  initialWindowSize?: number
  maxFrameSize?: number
}

const entryBytes = 6
/** In one frame; there are fewer than ten kinds. */
const mostEntries = 64

/**
 * Reads the payload of SETTINGS. The last value of a setting counts, unknown ones are ignored.
 * @throws `Http2Error` for values that are not allowed.
 */
export function readSettings(bytes: Buffer, start: number, end: number): Settings {
  if ((end - start) % entryBytes !== 0) throw sizeError()
  if (end - start > mostEntries * entryBytes) {
    throw new Http2Error(ErrorCode.enhanceYourCalm, 'too many settings')
  }
  const settings: Settings = {}
  for (let at = start; at < end; at += entryBytes) {
    take(settings, bytes.readUInt16BE(at), bytes.readUInt32BE(at + 2))
  }
  return settings
}

function take(settings: Settings, id: number, value: number): void {
  if (id === Setting.headerTableSize) settings.headerTableSize = value
  if (id === Setting.maxConcurrentStreams) settings.maxConcurrentStreams = value
  if (id === Setting.enablePush && value > 1) throw bad('ENABLE_PUSH', value)
  if (id === Setting.initialWindowSize) {
    if (value > largestWindowBytes) {
      throw bad('INITIAL_WINDOW_SIZE', value, ErrorCode.flowControlError)
    }
    settings.initialWindowSize = value
  }
  if (id === Setting.maxFrameSize) {
    if (value < defaultFrameBytes || value > longestFrameBytes) throw bad('MAX_FRAME_SIZE', value)
    settings.maxFrameSize = value
  }
}

const sizeError = (): Http2Error =>
  new Http2Error(ErrorCode.frameSizeError, 'SETTINGS of a length that is no multiple of 6')

const bad = (name: string, value: number, code: number = ErrorCode.protocolError): Http2Error =>
  new Http2Error(code, `SETTINGS_${name} of ${value}`)
