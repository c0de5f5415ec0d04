import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'

const module = new URL('./weigh-buffers.ts', import.meta.url).href

test('this V8 knows the flag, or is not asked for it: it would say so on stderr', async () => {
  const program = `const { weighBuffers } = await import('${module}'); weighBuffers()`
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', program]
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args)
  assert.deepEqual([stdout, stderr], ['', ''])
})
