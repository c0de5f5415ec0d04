import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { validateIdentifier } from './identifiers.ts'

void suite('identifiers', () => {
  void test('words with single separators between them are identifiers', () => {
    for (const id of ['a', '0', 'Default', 'a.b_c-d', 'k8s.io', 'x'.repeat(76)]) {
      validateIdentifier(id)
    }
  })

  void test('anything else is not, and the message says why', () => {
    const bad = ['.a', 'a.', 'a..b', 'a/b', 'a b', '../x', 'ü', 'a\n', '-']
    for (const id of bad) {
      assert.throws(() => validateIdentifier(id), {
        code: 'invalid_argument',
        message: /^identifier ".*" must match \^/,
      })
    }
    assert.throws(() => validateIdentifier(''), {
      message: 'identifier must not be empty: invalid argument',
    })
    assert.throws(() => validateIdentifier('x'.repeat(77)), {
      message: /greater than maximum length \(76 characters\): invalid argument$/,
    })
  })
})
