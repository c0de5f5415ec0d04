import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { validateLabels } from './labels.ts'

void suite('labels', () => {
  void test('key and value have 4096 bytes together', () => {
    validateLabels({})
    validateLabels({ key: 'v'.repeat(4093), other: 'v'.repeat(4091) })
    assert.throws(() => validateLabels({ key: 'v'.repeat(4094) }), {
      code: 'invalid_argument',
      message:
        'label key and value length (4097 bytes) greater than maximum size (4096 bytes), ' +
        'key: key: invalid argument',
    })
  })

  void test('bytes count, not characters', () => {
    assert.throws(() => validateLabels({ key: 'ü'.repeat(2047) }), { code: 'invalid_argument' })
  })

  void test('of a long key the message shows the beginning', () => {
    const long = 'k'.repeat(5000)
    assert.throws(() => validateLabels({ [long]: '' }), {
      message: /, key: k{64}: invalid argument$/,
    })
  })
})
