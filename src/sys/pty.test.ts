import assert from 'node:assert/strict'
import { closeSync, openSync, readdirSync } from 'node:fs'
import { test } from 'node:test'

import { getWindowSize, openPty, ptyOf, setWindowSize, takePty } from './pty.ts'

const descriptors = (): number => readdirSync('/proc/self/fd').length

test('a terminal is taken over as it is, and nothing in its place', () => {
  const [one, other] = [openPty(), openPty()]
  const file = openSync('/dev/null', 'r')
  try {
    const taken = takePty(process.pid, one.master, ptyOf(one.master))
    assert.ok(taken !== undefined && taken !== one.master)
    setWindowSize(one.master, { width: 91, height: 7 })
    assert.deepEqual(getWindowSize(taken), { width: 91, height: 7 })
    closeSync(taken)
    const before = descriptors()
    assert.equal(takePty(process.pid, other.master, ptyOf(one.master)), undefined)
    assert.equal(takePty(process.pid, file, ptyOf(one.master)), undefined)
    assert.equal(descriptors(), before)
  } finally {
    for (const fd of [one.master, other.master, file]) closeSync(fd)
  }
  assert.throws(() => takePty(process.pid, 9999, '1/1'), { code: 'EBADF' })
})
