import assert from 'node:assert/strict'
import { test } from 'node:test'

import { hasCode } from '#lib/errors/errors.ts'

import { fromWire, toWire } from './jobs.ts'

/** An error as Node's `fs` throws it. */
const nodeError = (code: string, errno: number): Error =>
  Object.assign(new Error(`${code}: of a kind, write`), {
    code,
    errno,
    syscall: 'write',
    path: '/upper/file',
  })

const passed = (err: unknown): Error => fromWire(structuredClone(toWire(err)))

const rooms = [
  { what: 'a full disk', code: 'ENOSPC', errno: -28, text: 'ENOSPC: no space left on device' },
  // Node has no name for it.
  { what: 'a full quota', code: 'UNKNOWN', errno: -122, text: 'EDQUOT: disk quota exceeded' },
]

for (const { what, code, errno, text } of rooms) {
  test(`${what} is said to be one by the other thread, with the file that found no room`, () => {
    const err = passed(nodeError(code, errno))
    assert.ok(hasCode(err, 'resource_exhausted'))
    assert.equal(err.message, `${text}, write '/upper/file': resource exhausted`)
  })
}

test('any other error of the system stays one, with its name, number and file', () => {
  const err = passed(nodeError('EACCES', -13))
  assert.ok(!hasCode(err, 'resource_exhausted'))
  const { code, errno, path } = Object(err)
  assert.deepEqual({ code, errno, path }, { code: 'EACCES', errno: -13, path: '/upper/file' })
  assert.equal(err.message, "EACCES: permission denied, write '/upper/file'")
})
