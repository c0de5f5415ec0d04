import assert from 'node:assert/strict'
import { closeSync, mkdirSync, mkdtempDisposableSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { openFifo } from '#sys/fifo.ts'
import { mkfifo } from '#sys/node.ts'

import { HostLog } from './log.ts'

function messages(fd: number): unknown[] {
  const buffer = Buffer.alloc(4096)
  const lines = buffer.toString('utf8', 0, readSync(fd, buffer)).trimEnd().split('\n')
  return lines.map((line) => JSON.parse(line).msg)
}

suite('log of a shim host', () => {
  test('lines go to the FIFO of a bundle, if it is there', () => {
    using dir = mkdtempDisposableSync(join(tmpdir(), 'host-log-'))
    mkfifo(join(dir.path, 'log'), 0o600)
    const reader = openFifo(join(dir.path, 'log'), 'readwrite', { nonblock: true })
    using scope = new DisposableStack()
    scope.defer(() => closeSync(reader))
    const log = new HostLog(false).with({ id: 'x' })
    log.error('to nowhere')
    log.attach('/no/such/bundle')
    log.error('to a bundle that is gone')
    log.attach(dir.path)
    log.debug('not asked for')
    log.warn('something', { error: 'why' })
    const buffer = Buffer.alloc(4096)
    const text = buffer.toString('utf8', 0, readSync(reader, buffer))
    const { time, ...line }: { time: string } = JSON.parse(text)
    assert.ok(Date.parse(time) > 0)
    assert.deepEqual(line, { id: 'x', error: 'why', level: 'warning', msg: 'something' })
  })

  test('it goes on when the reader leaves and another comes, wherever that reads', () => {
    using dir = mkdtempDisposableSync(join(tmpdir(), 'host-log-'))
    const bundles = ['a', 'b', 'c'].map((name) => join(dir.path, name))
    const [a = '', b = '', c = ''] = bundles
    const log = new HostLog(false)
    for (const bundle of bundles) {
      mkdirSync(bundle)
      log.attach(bundle)
    }
    const reader = (bundle: string): number => {
      mkfifo(join(bundle, 'log'), 0o600)
      return openFifo(join(bundle, 'log'), 'readwrite', { nonblock: true })
    }
    const first = reader(b)
    log.info('one')
    // Its container is deleted; the daemon reads on.
    log.detach(b)
    rmSync(b, { recursive: true })
    log.info('two')
    assert.deepEqual(messages(first), ['one', 'two'])
    closeSync(first)
    log.info('lost')
    const second = reader(a)
    log.info('three')
    const third = reader(c)
    log.info('four')
    assert.deepEqual(messages(second), ['three', 'four'])
    closeSync(second)
    log.info('five')
    assert.deepEqual(messages(third), ['five'])
    closeSync(third)
  })

  test('a log that nobody reads stops nobody', () => {
    using dir = mkdtempDisposableSync(join(tmpdir(), 'host-log-'))
    mkfifo(join(dir.path, 'log'), 0o600)
    const log = new HostLog(true)
    log.attach(dir.path)
    log.info('without a reader')
    const fd = openFifo(join(dir.path, 'log'), 'readwrite', { nonblock: true })
    using scope = new DisposableStack()
    scope.defer(() => closeSync(fd))
    for (let i = 0; i < 2000; i += 1) log.debug('into a full pipe', { text: 'x'.repeat(100) })
    const buffer = Buffer.alloc(200)
    assert.match(buffer.toString('utf8', 0, readSync(fd, buffer)), /into a full pipe/)
  })
})
