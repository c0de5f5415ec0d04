import assert from 'node:assert/strict'
import { test } from 'node:test'

import { barText } from './progress.ts'

test('a bar is as full as the work is done, and never more than full', () => {
  assert.equal(barText('checking', 0, 0), `checking [${'-'.repeat(30)}]   0 %`)
  assert.equal(barText('checking', 5, 10), `checking [${'#'.repeat(15)}${'-'.repeat(15)}]  50 %`)
  assert.equal(barText('checking', 11, 10), `checking [${'#'.repeat(30)}] 100 %`)
})
