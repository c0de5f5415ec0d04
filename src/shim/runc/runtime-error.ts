import { readFileSync } from 'node:fs'

import { deadlineExceeded, describe, notFound } from '#lib/errors/errors.ts'

import { CommandError, CommandTimeout } from './command-error.ts'

/**
 * The error for a runtime command that failed: `what`, and why in the runtime's own words, from its
 * log. Source: upstream `process/init.go` (`runtimeError`).
 */
export function runtimeError(what: string, log: string, err: unknown): Error {
  if (err instanceof CommandTimeout)
    return deadlineExceeded(`${what}: ${err.message}`, { cause: err })
  try {
    const last = lastMessage(readFileSync(log, 'utf8'))
    if (last) return new Error(`${what}: ${last}`)
    return new Error(what, { cause: err })
  } catch (unreadable) {
    const why = `unable to retrieve OCI runtime error (${describe(unreadable)})`
    return new Error(`${what}: ${why}`, { cause: err })
  }
}

/** The last line of level `error` in a log of JSON lines; lines that are none are skipped. */
function lastMessage(log: string): string {
  const lines = log.split('\n').filter((line) => line.includes('"error"'))
  for (const line of lines.toReversed()) {
    try {
      const entry: { readonly level?: unknown; readonly msg?: unknown } = JSON.parse(line)
      if (entry.level === 'error' && typeof entry.msg === 'string') return entry.msg.trim()
    } catch {
      // Cut off in the middle: the runtime was killed while it wrote.
    }
  }
  return ''
}

/** How runc says that it knows no such container; how crun does, of its state, and when it is to delete it. */
const unknown = [
  /does not exist/i,
  /error opening file `[^`]*\/status`: no such file/i,
  /cannot open directory '(?!\/sys\/)[^']*': no such file/i,
]

const saysUnknown = (output: string): boolean => unknown.some((words) => words.test(output))

/**
 * What a failed `kill` means to the caller. Source: upstream `process/utils.go` (`checkKillError`).
 *
 * @returns a `not_found` error when there is nothing to kill any more.
 */
export function killError(err: unknown): Error {
  if (err instanceof CommandTimeout)
    return deadlineExceeded(`OCI runtime kill failed: ${err.message}`, { cause: err })
  const text = (err instanceof CommandError ? err.output : describe(err)).toLowerCase()
  const finished = ['process already finished', 'container not running', 'no such process', 'esrch']
  if (finished.some((each) => text.includes(each))) {
    return notFound('process already finished', { cause: err })
  }
  if (saysUnknown(text)) return notFound('no such container', { cause: err })
  return new Error('unknown error after kill', { cause: err })
}

/** Whether a command failed since the runtime does not know the container. */
export const isUnknownContainer = (err: unknown): boolean =>
  err instanceof CommandError && saysUnknown(err.output)
