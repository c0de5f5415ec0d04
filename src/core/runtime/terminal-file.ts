import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { hasErrno } from '#lib/fs/has-errno.ts'
import { replaceJson } from '#lib/fs/replace-json.ts'

/*
 * The terminals of a container's processes end with the last descriptor of their masters. Two have such
 * descriptors, and each says so in the bundle, so that the other can take them over:
 *
 *   terminals.host.json   the shim host, which copies what is read and written
 *   terminals.kept.json   the daemon, which has them only so that another host can go on
 *
 *   { "holder": { "pid": 812, "startedAt": 3401 },
 *     "terminals": [{ "pid": 4711, "fd": 31, "pty": "49/0" }] }
 */

/** Whose file it is. */
export type TerminalHolder = 'host' | 'kept'

/** The terminal of a process. */
export interface HeldTerminal {
  /** Of the process. */
  readonly pid: number
  /** Which descriptor of the holder is its master. */
  readonly fd: number
  /** Which terminal that is: the descriptor may be another file's by now. */
  readonly pty: string
}

/** The terminals that one process has open. */
export interface HeldTerminals {
  /** The process, by its number and by when it was started, in ticks since the start of the machine. */
  readonly holder: { readonly pid: number; readonly startedAt: number }
  readonly terminals: readonly HeldTerminal[]
}

const fileOf = (bundle: string, whose: TerminalHolder): string =>
  join(bundle, `terminals.${whose}.json`)

/** What the file says; `undefined` when there is none. @throws {SystemError}; {SyntaxError} */
export function readTerminals(bundle: string, whose: TerminalHolder): HeldTerminals | undefined {
  try {
    const held: HeldTerminals = JSON.parse(readFileSync(fileOf(bundle, whose), 'utf8'))
    return held
  } catch (err) {
    if (hasErrno(err, 'ENOENT', 'ENOTDIR')) return undefined
    throw err
  }
}

/** Replaces the file. A bundle that is gone needs none. @throws {SystemError} */
export const writeTerminals = (bundle: string, whose: TerminalHolder, held: HeldTerminals): void =>
  replaceJson(fileOf(bundle, whose), held)
