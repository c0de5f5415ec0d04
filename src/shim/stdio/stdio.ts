import type { StdioFds } from '#shim/runc/command.ts'
import type { WindowSize } from '#sys/pty.ts'

/** Where a process's streams go: FIFO paths or URIs, empty for nowhere. */
export interface StdioPaths {
  readonly stdin: string
  readonly stdout: string
  readonly stderr: string
  readonly terminal: boolean
}

/** Who may open a process's streams again by their names in /proc; 0 changes nothing. */
export interface StreamOwner {
  readonly uid: number
  readonly gid: number
}

/** Whose streams they are; loggers are told the names. */
export interface ProcessOwner extends StreamOwner {
  /** Of the container, or of the exec. */
  readonly id: string
  readonly namespace: string
}

/** The pipes of stdout and stderr, as /proc calls them. */
export type OutputPipes = readonly [string, string]

/**
 * The streams of one process, from before it exists until it is deleted.
 *
 * Order of use: give `fds` or `consoleSocket` to the OCI runtime, then `handedOver`, then
 * `closeStdin` whenever asked; after the process has ended `drained`. Disposal at any point.
 */
export interface ProcessStdio extends Disposable {
  /** For the runtime's own 0, 1 and 2, which it hands to the process. Absent with a terminal. */
  readonly fds?: StdioFds | undefined
  /** Names of the pipes that stdout and stderr are copied from, which another host can open again. */
  readonly pipes?: OutputPipes | undefined
  /** The master of the terminal, while it is open. */
  readonly terminal?: number | undefined
  /** Where the runtime shall send the terminal. */
  readonly consoleSocket?: string | undefined
  /** The runtime has what it needs: our copies are closed, a terminal is received and served. */
  handedOver(): Promise<void>
  /** No more input but what clients still write: the end of it, as soon as they close. */
  closeStdin(): void
  /** The terminal, if there is one, has this size now. */
  resize(size: WindowSize): void
  /** Resolves when everything the process wrote is on its way to the client. */
  drained(): Promise<void>
}
