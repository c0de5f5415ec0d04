import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { entryUrl, packageRoot, packageVersion, programPath } from './release.ts'

test('a checkout is found from inside its sources', () => {
  assert.ok(existsSync(join(packageRoot, 'package.json')))
  assert.match(packageVersion, /^\d+\.\d+\.\d+/)
  assert.ok(existsSync(programPath('wharfd.mjs')))
  const entry = fileURLToPath(entryUrl('lib/release/release'))
  assert.equal(entry, import.meta.filename.replace('.test.ts', '.ts'))
})
