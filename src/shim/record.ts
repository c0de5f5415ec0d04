import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'

import { replaceJson } from '#lib/fs/replace-json.ts'
import { isErrno } from '#sys/errno.ts'
import { identify, type ProcessIdentity } from '#sys/process-end.ts'

import type { Exit } from './reaper.ts'
import type { OutputPipes, StdioPaths } from './stdio/stdio.ts'

/*
 * `container.json` in a bundle: what a new host has to know of a container to go on with it when the
 * host that made it was killed. It is there from the end of its creation to its deletion, and always
 * whole: it appears by a rename. Nothing is flushed: processes do not outlive the machine either.
 */

/** A process as a new host finds it. */
export interface ProcessRecord {
  readonly stdio: StdioPaths
  /** Nobody shall keep its stdin open any more. */
  readonly stdinClosed: boolean
  /** Where its output is copied from. */
  readonly pipes?: OutputPipes | undefined
  /** Absent when it had ended before it could be looked at. */
  readonly identity?: ProcessIdentity | undefined
  readonly exit?: { readonly status: number; readonly at: string } | undefined
}

/** A container as a new host finds it. */
export interface ContainerRecord {
  /** Pids mean nothing after the next start of the machine. */
  readonly boot: string
  readonly paused: boolean
  readonly init: ProcessRecord
  readonly execs: readonly (ProcessRecord & { readonly execId: string; readonly pid: number })[]
}

/** What a record is made of. */
export interface Recorded {
  readonly pid: number
  readonly stdio: StdioPaths
  readonly stdinClosed: boolean
  readonly pipes?: OutputPipes | undefined
  readonly exit: Exit | undefined
}

const fileOf = (bundle: string): string => join(bundle, 'container.json')

let knownBoot: string | undefined

/** Which start of the machine this is. */
export function bootId(): string {
  knownBoot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  return knownBoot
}

/** The part of a record about one process; `known` is where it was found last. */
export function recordOf(
  { pid, stdio, stdinClosed, pipes, exit }: Recorded,
  known: Map<number, ProcessIdentity | undefined>,
): ProcessRecord {
  const identity = known.getOrInsertComputed(pid, () => identify(pid))
  const end = exit && { status: exit.status, at: exit.at.toISOString() }
  return { stdio, stdinClosed, pipes, identity, exit: end }
}

/** Replaces the record. A bundle that is gone needs none. @throws {SystemError} */
export const writeRecord = (bundle: string, record: ContainerRecord): void =>
  replaceJson(fileOf(bundle), record)

export const isRecorded = (bundle: string): boolean => existsSync(fileOf(bundle))

/** Says that there is nothing to go on with. */
export const removeRecord = (bundle: string): void => rmSync(fileOf(bundle), { force: true })

/** `undefined` when there is none that holds: of another start of the machine, or never finished. */
export function readRecord(bundle: string): ContainerRecord | undefined {
  try {
    const record: ContainerRecord = JSON.parse(readFileSync(fileOf(bundle), 'utf8'))
    return record.boot === bootId() ? record : undefined
  } catch (err) {
    if (isErrno(err, 'ENOENT', 'ENOTDIR')) return undefined
    throw err
  }
}

/** An exit as it was recorded. */
export const toExit = ({ exit }: ProcessRecord): Exit | undefined =>
  exit && { status: exit.status, at: new Date(exit.at) }
