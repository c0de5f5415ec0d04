import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

import type { Logger } from '#core/context.ts'
import { describe } from '#lib/errors/errors.ts'
import { replaceJson } from '#lib/fs/replace-json.ts'

import { bundlesOf } from './bundles.ts'
import { bootId } from './record.ts'

/*
 * `sandbox.json` in the bundle of a sandbox: what a new host has to know of it when the host that
 * made it was killed. It is there from the creation of the sandbox until its bundle is removed.
 */

/** A sandbox as a new host finds it; times are as `Date` writes them. */
export interface SandboxRecord {
  readonly id: string
  /** A sandbox ends with the start of the machine. */
  readonly boot: string
  readonly netns: string
  readonly createdAt: string
  readonly startedAt?: string | undefined
  readonly stoppedAt?: string | undefined
}

const fileOf = (bundle: string): string => join(bundle, 'sandbox.json')

export const isSandbox = (bundle: string): boolean => existsSync(fileOf(bundle))

/** Replaces the record; a daemon need not name a bundle. @throws {SystemError} */
export function writeSandbox(bundle: string, record: Omit<SandboxRecord, 'boot'>): void {
  if (bundle !== '') replaceJson(fileOf(bundle), { ...record, boot: bootId() })
}

/** The sandboxes in the bundles in `dir` whose host had its socket at this path. */
export function readSandboxes(
  dir: string,
  socket: string,
  log: Logger,
): readonly { readonly bundle: string; readonly record: SandboxRecord }[] {
  return bundlesOf(dir, socket).flatMap(({ id, path }) => {
    try {
      if (!existsSync(fileOf(path))) return []
      const record: SandboxRecord = JSON.parse(readFileSync(fileOf(path), 'utf8'))
      return record.boot === bootId() ? [{ bundle: path, record }] : []
    } catch (err) {
      log.error('cannot read the record of a sandbox', { id, error: describe(err) })
      return []
    }
  })
}
