import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempDisposable, readdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'

import { ProcessIo } from './stdio.ts'

const run = promisify(execFile)

test('what is written into the FIFOs arrives, until the last writer has closed', async () => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'stdio-'))
  const said = { out: '', err: '' }
  await using io = await ProcessIo.open(dir.path, {
    stdout: (chunk) => void (said.out += Buffer.from(chunk).toString()),
    stderr: (chunk) => void (said.err += Buffer.from(chunk).toString()),
  })
  const { stdin, stdout, stderr } = io.stdio
  assert.equal(stdin, '')
  await run('sh', ['-c', 'seq 20000 >"$1"; echo err >"$2"', 'sh', stdout, stderr])
  await io.drain()
  assert.equal(said.out.split('\n').length, 20_001)
  assert.equal(said.err, 'err\n')
})

test('input of any size arrives, and then its end', async () => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'stdio-'))
  const input = 'x'.repeat(1_000_000)
  await using io = await ProcessIo.open(dir.path, { stdin: input })
  const reading = run('sh', ['-c', 'wc -c <"$1"', 'sh', io.stdio.stdin])
  await io.feed()
  assert.equal(Number((await reading).stdout), input.length)
})

test('a process that does not read its input holds nobody up', async () => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'stdio-'))
  const io = await ProcessIo.open(dir.path, { stdin: 'x'.repeat(1_000_000) })
  const feeding = io.feed()
  await io[Symbol.asyncDispose]()
  await feeding
})

test('streams that nobody asks for are not made, and those of a log are its own', async () => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'stdio-'))
  {
    await using none = await ProcessIo.open(dir.path, {})
    assert.deepEqual(none.stdio, { stdin: '', stdout: '', stderr: '', terminal: false })
    await using log = await ProcessIo.open(dir.path, { logUri: 'file:///x', stdout: () => {} })
    assert.deepEqual([log.stdio.stdout, log.stdio.stderr], ['file:///x', 'file:///x'])
    await using tty = await ProcessIo.open(dir.path, { terminal: true })
    assert.equal(tty.stdio.stderr, '')
    assert.notEqual(tty.stdio.stdout, '')
    assert.equal((await readdir(dir.path)).length, 1)
  }
  assert.deepEqual(await readdir(dir.path), [])
})

test('a callback that throws is told to who waits', async () => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'stdio-'))
  await using io = await ProcessIo.open(dir.path, {
    stdout: () => {
      throw new Error('enough')
    },
  })
  await writeFile(io.stdio.stdout, 'x')
  await assert.rejects(io.drain(), /enough/)
})
