import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as api from './api.ts'
import * as types from './types.ts'

test('a plugin of others can be of every type, and can require every one', () => {
  const given = new Map<string, unknown>(Object.entries(api))
  for (const [name, type] of Object.entries(types)) assert.equal(given.get(name), type, name)
})
