import assert from 'node:assert/strict'

import { codeOf, describe, type ErrorCode } from '#lib/errors/errors.ts'

/** Fails unless `promise` rejects with an error of class `code`, whose message matches or is `message`. */
export async function rejectsWith(
  code: ErrorCode,
  promise: Promise<unknown>,
  message: RegExp | string = /(?:)/,
): Promise<void> {
  await assert.rejects(promise, (err) => {
    assert.equal(codeOf(err), code, describe(err))
    if (typeof message === 'string') assert.equal(describe(err), message)
    else assert.match(describe(err), message)
    return true
  })
}

/** Fails unless `promise` rejects because its signal was aborted, here or behind a connection. */
export async function rejectsCancelled(promise: Promise<unknown>): Promise<void> {
  await assert.rejects(promise, (err) => {
    const aborted = err instanceof Error && err.name === 'AbortError'
    assert.ok(aborted || codeOf(err) === 'canceled', String(err))
    return true
  })
}
