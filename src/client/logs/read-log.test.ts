import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, mkdtempDisposableSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { type StreamName, formatEntry } from '#core/logs/json-file.ts'
import { codeOf } from '#lib/errors/errors.ts'
import { RotatingFile } from '#shim/stdio/json-file/rotating-file.ts'

import { type ReadLogOptions, readLog } from './read-log.ts'

/** Writes numbers to a log, rotating it all the time. */
const program = fileURLToPath(new URL('../../testing/rotate-fast.ts', import.meta.url))
const scratch = () => mkdtempDisposableSync(join(tmpdir(), 'wharf-log-'))

const line = (text: string, second = 0, stream: StreamName = 'stdout'): string =>
  formatEntry({ log: `${text}\n`, stream, time: `2026-01-01T00:00:${pad(second)}.5Z` })
const pad = (n: number): string => String(n).padStart(2, '0')

async function read(path: string, options: ReadLogOptions = {}): Promise<string[]> {
  const entries = await Array.fromAsync(readLog(path, options))
  return entries.map(({ log }) => log.trimEnd())
}

const numbers = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, n) => String(from + n))

/** A log of the numbers up to `count`, in files of some ten lines. */
function write(path: string, count: number, maxFile = 100): RotatingFile {
  const log = new RotatingFile({ path, maxSize: 700, maxFile })
  for (const n of numbers(0, count)) log.write([line(n)])
  return log
}

void suite('reading a log', () => {
  void test('all files are read, the oldest first', async () => {
    using dir = scratch()
    const path = join(dir.path, 'log')
    using _ = write(path, 95)
    assert.deepEqual(await read(path), numbers(0, 95))
  })

  void test('the last entries are found in whichever files they are', async () => {
    using dir = scratch()
    const path = join(dir.path, 'log')
    using _ = write(path, 95)
    for (const tail of [0, 1, 9, 10, 11, 50, 94, 95, 1000]) {
      assert.deepEqual(await read(path, { tail }), numbers(Math.max(0, 95 - tail), 95), `${tail}`)
    }
  })

  void test('times bound what is read, and both ends belong to it', async () => {
    using dir = scratch()
    const path = join(dir.path, 'log')
    writeFileSync(
      path,
      numbers(0, 10)
        .map((n) => line(n, Number(n)))
        .join(''),
    )
    const at = (second: number, ms: number): Date =>
      new Date(Date.UTC(2026, 0, 1, 0, 0, second, ms))
    assert.deepEqual(await read(path, { since: at(7, 500) }), ['7', '8', '9'])
    assert.deepEqual(await read(path, { since: at(7, 501) }), ['8', '9'])
    assert.deepEqual(await read(path, { until: at(1, 500) }), ['0', '1'])
    assert.deepEqual(await read(path, { since: at(3, 0), until: at(5, 499) }), ['3', '4'])
    assert.deepEqual(await read(path, { since: at(3, 0), tail: 3 }), ['7', '8', '9'])
  })

  void test('what is no entry is skipped, and half an entry at the end', async () => {
    using dir = scratch()
    const path = join(dir.path, 'log')
    const garbage = ['', '{"log":"to', 'x'.repeat(3_000_000), '\0\0\0']
    writeFileSync(path, [line('a'), ...garbage.map((each) => `${each}\n`), line('b')].join(''))
    appendFileSync(path, line('c').slice(0, -5))
    assert.deepEqual(await read(path), ['a', 'b'])
    assert.deepEqual(await read(path, { tail: 1 }), ['b'])
  })

  void test('a log that is not there is not found', async () => {
    await assert.rejects(read('/no/such/log'), (err) => codeOf(err) === 'not_found')
    await assert.rejects(read('/no/such/log', { tail: 1 }), (err) => codeOf(err) === 'not_found')
  })

  void test('following goes on until the writer has gone, and stops when it is told to', async () => {
    using dir = scratch()
    const path = join(dir.path, 'log')
    const log = write(path, 5)
    const following = read(path, { follow: true, tail: 2 })
    const stop = new AbortController()
    const stopped = read(path, { follow: true, signal: stop.signal })
    for (const n of numbers(5, 40)) {
      await sleep(5)
      log.write([line(n)])
    }
    stop.abort()
    await assert.rejects(stopped, { name: 'AbortError' })
    log[Symbol.dispose]()
    assert.deepEqual(await following, numbers(3, 40))
    assert.deepEqual(await read(path, { follow: true, tail: 1 }), ['39'])
  })

  void test('following ends at a time that has come', async () => {
    using dir = scratch()
    const path = join(dir.path, 'log')
    using _ = write(path, 5)
    assert.deepEqual(await read(path, { follow: true, until: new Date() }), numbers(0, 5))
  })

  void test('no line is lost or doubled while another process rotates as fast as it can', async () => {
    using dir = scratch()
    const path = join(dir.path, 'log')
    const writer = fork(program, [path, '3000'])
    const exit = once(writer, 'exit')
    await once(writer, 'message')
    const [entries] = await Promise.all([read(path, { follow: true }), exit])
    assert.deepEqual(entries, numbers(0, 3000))
  })

  void test('following ends when the writer is killed, with all that it wrote', async () => {
    using dir = scratch()
    const path = join(dir.path, 'log')
    const writer = fork(program, [path, '1e9'])
    await once(writer, 'message')
    const following = read(path, { follow: true })
    await sleep(100)
    writer.kill('SIGKILL')
    const entries = await following
    assert.deepEqual(entries, numbers(0, entries.length))
    // What is there is all: the next writer goes on behind it.
    using log = new RotatingFile({ path, maxSize: 7000, maxFile: 1000 })
    log.write([line('more')])
    assert.deepEqual(await read(path, { tail: 2 }), [String(entries.length - 1), 'more'])
  })
})
