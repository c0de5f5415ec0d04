import assert from 'node:assert/strict'

import { type ErrorCode, codeOf, describe } from '#lib/errors/errors.ts'

/** Holds when `promise` rejects with an error of class `code`, saying `message` if that is given. */
export async function rejectsWith(
  code: ErrorCode,
  promise: Promise<unknown>,
  message?: string | RegExp,
): Promise<void> {
  await assert.rejects(promise, (err) => {
    assert.equal(codeOf(err), code, describe(err))
    if (typeof message === 'string') assert.equal(describe(err), message)
    else if (message) assert.match(describe(err), message)
    return true
  })
}
