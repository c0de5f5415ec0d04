import assert from 'node:assert/strict'
import { test } from 'node:test'

import { codeOf } from '#lib/errors/errors.ts'

import { parseUser } from './user.ts'

test('a user is numbers, root, or nobody in particular', () => {
  assert.deepEqual(parseUser(''), { uid: 0, gid: 0, additionalGids: [0] })
  assert.deepEqual(parseUser('1000'), { uid: 1000, gid: 0, additionalGids: [0] })
  assert.deepEqual(parseUser('1000:50'), { uid: 1000, gid: 50, additionalGids: [50] })
  assert.deepEqual(parseUser('root:root'), { uid: 0, gid: 0, additionalGids: [0] })
  assert.equal(parseUser('2147483647').uid, 2 ** 31 - 1)
})

test('a number out of range is refused and not looked up as a name', () => {
  for (const text of ['2147483648', '-1', '99999999999999999999', '1000:-1', '0:4294967296']) {
    assert.throws(
      () => parseUser(text),
      (err) => codeOf(err) === 'invalid_argument',
      text,
    )
  }
})

test('a name is refused rather than guessed, and so is what has no meaning', () => {
  for (const text of ['nobody', '1000:staff', ':', '0x10', '1e3']) {
    assert.throws(
      () => parseUser(text),
      (err) => codeOf(err) === 'unimplemented',
      text,
    )
  }
  assert.throws(
    () => parseUser('1:2:3'),
    (err) => codeOf(err) === 'invalid_argument',
  )
})
