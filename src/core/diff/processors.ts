/**
 * A program that turns layers of some media types into another: `[stream_processors.<id>]` in
 * config.toml. It reads the layer on its standard input and writes the result on its standard
 * output; the payload for it is on file descriptor 3.
 *
 * Source: upstream `core/diff/stream.go`, `docs/stream_processors.md`.
 */
export interface StreamProcessor {
  readonly id: string
  /** Media types of what it takes. */
  readonly accepts: readonly string[]
  /** Media type of what it makes. */
  readonly returns: string
  /** The program: a path, or a name to look up in PATH. */
  readonly path: string
  readonly args: readonly string[]
  /** Added to the daemon's environment, as `NAME=value`. */
  readonly env: readonly string[]
}
