import { CommandError } from './command-error.ts'

/** A command that runs, or has ended: then `ended` has resolved. */
export interface Command {
  /** 0 if it could not be started. */
  readonly pid: number
  readonly ended: Promise<Ended>
  /** Kills it and what it has started, unless it has ended, and lets go of what is held for it. */
  readonly kill: () => void
}

/** What came of a command. */
export interface Ended {
  /** `exit status 1`, `signal: SIGKILL`; empty if it did what it was asked for. */
  readonly failure: string
  readonly stdout: string
  readonly stderr: string
}

/** The error for a command that could not be started at all. */
export const notRun = (file: string, cause: unknown): CommandError =>
  new CommandError(`run ${file}`, '', { cause })

/** How a command with this exit code, or ended by this signal, has failed; empty if it has not. */
export function failureOf(status: number | null, signal: string | null): string {
  if (signal !== null) return `signal: ${signal}`
  if (status === null) return 'nobody knows how'
  return status === 0 ? '' : `exit status ${status}`
}
