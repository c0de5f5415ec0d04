import assert from 'node:assert/strict'
import { test } from 'node:test'

import { afterKill, MemoryFile } from '#testing/memory-file.ts'

import { inBucket, keys } from './bucket.fixture.ts'
import { openDatabase, openFile } from './open.ts'

test('updates that arrive during a flush share the next one', async () => {
  const file = new MemoryFile()
  await using db = await openFile(file, { gatherMs: 10_000 })
  const syncs = () => file.steps.filter(({ kind }) => kind === 'sync').length
  await db.update((tx) => tx.createBucket('b'))
  const before = syncs()
  const first = db.update(inBucket((b) => b.put('first', '')))
  while (syncs() === before) await new Promise((resolve) => setImmediate(resolve))
  const later = Array.from({ length: 20 }, (_, i) => db.update(inBucket((b) => b.put(`${i}`, ''))))
  await Promise.all([first, ...later])
  assert.equal(syncs() - before, 2)
})

test('nothing is acknowledged while the disk has not answered', async () => {
  const file = new MemoryFile()
  await using db = await openFile(file, {})
  const gate = Promise.withResolvers<void>()
  file.syncGate = gate.promise
  const told: string[] = []
  const update = db.update((tx) => tx.createBucket('b')).then(() => told.push('made'))
  const failing = db.update((tx) => tx.createBucket('b')).catch(() => told.push('already there'))
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(told, [])
  gate.resolve()
  await Promise.all([update, failing])
  assert.deepEqual(told, ['made', 'already there'])
})

test('what was in the file before is on disk before anything is written, and can be read at once', async () => {
  const made = new MemoryFile()
  await using first = await openFile(made, {})
  await first.update(inBucket((b) => b.put('old', '')))
  const file = new MemoryFile(afterKill(made.steps))
  const gate = Promise.withResolvers<void>()
  file.syncGate = gate.promise
  await using db = await openFile(file, {})
  const before = file.steps.length
  const update = db.update(inBucket((b) => b.put('new', '')))
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(file.steps.length, before)
  assert.ok(db.view((tx) => tx.bucket('b')?.get('old')))
  gate.resolve()
  await update
  assert.ok(file.steps.length > before)
})

test('a file that cannot be made durable takes no update', async () => {
  const made = new MemoryFile()
  await using first = await openFile(made, {})
  await first.update(inBucket((b) => b.put('old', '')))
  const file = new MemoryFile(afterKill(made.steps))
  file.failure = (kind) => (kind === 'sync' ? new Error('i/o error') : undefined)
  await using db = await openFile(file, {})
  await assert.rejects(db.update(inBucket((b) => b.put('new', ''))), /i\/o error/)
  file.failure = () => undefined
  await assert.rejects(db.update(inBucket((b) => b.put('new', ''))), /i\/o error/)
  assert.ok(db.view((tx) => tx.bucket('b')?.get('old')))
})

test('an update that changes nothing does not touch the file', async () => {
  const file = new MemoryFile()
  await using db = await openFile(file, {})
  const before = file.steps.length
  assert.equal(await db.update((tx) => tx.bucket('b')), undefined)
  assert.equal(file.steps.length, before)
})

test('a failing disk fails the callers, and the state goes on from what is durable', async () => {
  for (const broken of ['write', 'sync', 'truncate'] as const) {
    const file = new MemoryFile()
    await using db = await openFile(file, { gatherMs: 10_000 })
    const big = 'x'.repeat(100_000)
    await db.update(inBucket((b) => b.put('kept', '')))
    // By then the file has found its size.
    for (let i = 0; i < 5; i++) {
      await db.update(inBucket((b) => b.put('a', big)))
      await db.update(inBucket((b) => b.delete('a')))
    }
    const size = file.size()
    const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })
    file.failure = (kind) => (kind === broken ? full : undefined)
    const huge = big.repeat(broken === 'truncate' ? 10 : 1)
    for (let i = 0; i < 5; i++) {
      const two = [
        db.update(inBucket((b) => b.put('a', huge))),
        db.update(inBucket((b) => b.put('b', ''))),
      ]
      for (const result of await Promise.allSettled(two)) {
        assert.deepEqual(result, { status: 'rejected', reason: full })
      }
      assert.deepEqual(
        db.view((tx) => keys(tx.bucket('b'))),
        ['kept'],
      )
    }
    file.failure = () => undefined
    await db.update(inBucket((b) => b.put('a', big)))
    assert.deepEqual(
      db.view((tx) => keys(tx.bucket('b'))),
      ['a', 'kept'],
    )
    assert.equal(file.size(), size, 'the pages of failed commits are used again')
  }
})

test('a system error names the file', async () => {
  await assert.rejects(async () => {
    await using db = await openDatabase('/dev/full')
    await db.update((tx) => tx.createBucket('b'))
  }, /\/dev\/full/)
})

test('an update whose signal aborts in the queue is dropped', async () => {
  await using db = await openFile(new MemoryFile(), {})
  const abort = new AbortController()
  const { signal } = abort
  const update = db.update((tx) => tx.createBucket('dropped'), { signal })
  abort.abort(new Error('changed my mind'))
  await assert.rejects(update, /changed my mind/)
  await assert.rejects(
    db.update((tx) => tx.createBucket('late'), { signal }),
    /changed my mind/,
  )
  await db.update((tx) => tx.createBucket('kept'))
  assert.deepEqual(db.view(keys), ['kept'])
})
