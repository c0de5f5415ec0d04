import type { Grave } from './graveyard.ts'
import type { HeaderBlock } from './header-block.ts'
import type { KeepAlive } from './keep-alive.ts'
import type { Http2Stream, StreamHost } from './stream.ts'

/** What is different between the ends of a connection. */
export interface Role {
  readonly server: boolean
  readonly maxConcurrentStreams?: number
  /** A header block for a stream that is not open. @throws `Http2Error` if it may not be. */
  onBlock(stream: number, block: HeaderBlock, end: boolean): void
  /** Whether a stream of that id has not been opened yet by anybody. */
  isIdle(stream: number): boolean
  /** The last stream of the peer that was or might be acted on, for GOAWAY. */
  lastStream(): number
  onSettings?(maxConcurrentStreams: number | undefined): void
  onGoaway?(lastStream: number, code: number, debug: string): void
  /** A PING that was not for keeping alive has been answered. */
  onPong?(): void
  /** A stream has been forgotten. */
  onRemove?(): void
  /** The connection is over; the streams have heard of it. */
  onClose(err: Error | undefined): void
}

/** The connection, as the handlers of its frames see it. */
export interface FrameHost extends StreamHost {
  readonly streams: Map<number, Http2Stream>
  readonly keepAlive: KeepAlive
  /** How the stream of that id, which is not open, has ended. */
  graveOf(stream: number): Grave
  /** A request ends in a reset. @throws `Http2Error` if that happens too often unanswered. */
  countReset(stream?: Http2Stream): void
  /** Resets the stream of a peer that has broken the rules. @throws as `countReset`. */
  fault(stream: Http2Stream, code: number): void
  /** The peer has taken our SETTINGS. */
  settingsAcked(): void
}
