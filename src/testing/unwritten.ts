import assert from 'node:assert/strict'
import { statfsSync } from 'node:fs'

import { lastErrno, systemCall } from '#sys/libc.ts'

const cachestat = systemCall(451, ['uint', 'const void *', 'void *', 'uint'])
const pageBytes = 4096
const ENOSYS = 38

/**
 * How much of an open file is in memory and not on disk, in bytes; undefined when the kernel can't
 * tell. Source: cachestat(2).
 */
export function unwritten(fd: number): number | undefined {
  const counts = new BigUint64Array(5)
  if (cachestat(fd, new BigUint64Array(2), counts, 0) < 0) {
    assert.equal(lastErrno(), ENOSYS)
    return undefined
  }
  const [, dirty = 0n, beingWritten = 0n] = counts
  return Number(dirty + beingWritten) * pageBytes
}

const tmpfs = 0x01021994

/** Whether `path` is in memory for good. */
export const isInMemory = (path: string): boolean => statfsSync(path).type === tmpfs
