import assert from 'node:assert/strict'
import { mkdtempDisposableSync, renameSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { hasCode } from '#lib/errors/errors.ts'
import { afterKill, MemoryFile } from '#testing/memory-file.ts'
import { random } from '#testing/random.ts'

import type { Bucket, Database, Key, ReadBucket } from './database.ts'
import { openDatabase, openFile } from './open.ts'

const open = async (): Promise<Database> => await openFile(new MemoryFile(), {})

const keys = (bucket: ReadBucket | undefined) =>
  [...(bucket?.entries() ?? [])].map(({ key }) => Buffer.from(key).toString())

const coded = (code: Parameters<typeof hasCode>[1]) => (err: unknown) => hasCode(err, code)

function inBucket<T>(fn: (bucket: Bucket) => T): (tx: Bucket) => T {
  return (tx) => fn(tx.createBucketIfNotExists('b'))
}

test('an update is read when its promise resolves, and not before', async () => {
  await using db = await open()
  let ran = false
  const update = db.update((tx) => {
    ran = true
    tx.createBucket('b').put('key', 'value')
    assert.equal(
      db.view((view) => view.bucket('b')),
      undefined,
    )
  })
  assert.equal(ran, false)
  await update
  assert.equal(String(db.view((tx) => tx.bucket('b')?.get('key'))), 'value')
})

test('a function that throws is undone alone, whatever it did', async () => {
  await using db = await open()
  await db.update(
    inBucket((b) => {
      for (let i = 0; i < 500; i++) b.put(`old-${i}`, 'x'.repeat(50))
      b.createBucket('nested').put('a', 'a')
    }),
  )
  const results = await Promise.allSettled([
    db.update(inBucket((b) => b.put('first', '1'))),
    db.update(
      inBucket((b) => {
        b.put('second', '2')
        b.delete('first')
        for (let i = 0; i < 500; i++) b.delete(`old-${i}`)
        b.deleteBucket('nested')
        b.setSequence(9n)
        throw new Error('undone')
      }),
    ),
    db.update(inBucket((b) => b.bucket('nested')?.put('b', 'b'))),
  ])
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
  db.view((tx) => {
    const b = tx.bucket('b')
    assert.equal(keys(b).length, 502)
    assert.equal(b?.sequence, 0n)
    assert.deepEqual(keys(b?.bucket('nested')), ['a', 'b'])
  })
})

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
  await using db = await open()
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

test('buckets are dead when their function is over or they are deleted', async () => {
  await using db = await open()
  let kept: Bucket | undefined
  await db.update(
    inBucket((b) => {
      kept = b
      const child = b.createBucket('child')
      const grandchild = child.createBucket('grandchild')
      b.deleteBucket('child')
      assert.throws(() => child.get('x'), /deleted/)
      assert.throws(() => grandchild.put('x', ''), /deleted/)
      assert.deepEqual(keys(b.createBucket('child')), [])
    }),
  )
  assert.throws(() => kept?.put('x', ''), /over/)
  const bucket = db.view((tx) => tx.bucket('b'))
  assert.throws(() => bucket?.get('x'), /over/)
  const entries = db.view((tx) => tx.entries()[Symbol.iterator]())
  assert.throws(() => entries.next(), /over/)
})

test('a transaction function cannot be asynchronous', async () => {
  await using db = await open()
  const update = db.update(async (tx) => {
    tx.createBucket('b')
    await Promise.resolve()
  })
  await assert.rejects(update, TypeError)
  assert.deepEqual(db.view(keys), [])
})

test('two handles of one bucket see each other', async () => {
  await using db = await open()
  await db.update((tx) => {
    tx.createBucket('b')
    const [one, two] = [tx.bucket('b'), tx.createBucketIfNotExists('b')]
    one?.put('x', '1')
    assert.equal(String(two.get('x')), '1')
  })
})

test('what is put may change afterwards', async () => {
  await using db = await open()
  const key = Buffer.from('key')
  const value = Buffer.from('value')
  const update = db.update(
    inBucket((b) => {
      b.put(key, value)
      key.fill(0)
      value.fill(0)
    }),
  )
  await update
  assert.equal(String(db.view((tx) => tx.bucket('b')?.get('key'))), 'value')
})

test('one update may add and take away very much', async () => {
  const file = new MemoryFile()
  const expected = new Set<string>()
  {
    await using db = await openFile(file, {})
    const rand = random(3)
    const add = (b: Bucket, set: Set<string>) => {
      for (let i = 0; i < 20_000; i++) {
        const key = `key-${rand(1_000_000)}`
        b.put(key, 'value')
        set.add(key)
      }
    }
    await db.update(inBucket((b) => add(b, expected)))
    const undone = db.update(
      inBucket((b) => {
        add(b, new Set())
        throw new Error('undone')
      }),
    )
    const thinned = db.update(
      inBucket((b) => {
        for (const [i, key] of [...expected].entries()) {
          if (i % 50 === 0) continue
          b.delete(key)
          expected.delete(key)
        }
      }),
    )
    await Promise.all([assert.rejects(undone, /undone/), thinned])
    assert.deepEqual(
      db.view((tx) => keys(tx.bucket('b'))),
      [...expected].toSorted(),
    )
  }
  await using db = await openFile(new MemoryFile(afterKill(file.steps)), {})
  assert.deepEqual(
    db.view((tx) => keys(tx.bucket('b'))),
    [...expected].toSorted(),
  )
})

test('entries start at the first key that is not below `from`', async () => {
  await using db = await open()
  const from = (tx: ReadBucket, key: Key) => {
    const [first] = tx.bucket('b')?.entries(key) ?? []
    return first && Buffer.from(first.key).toString()
  }
  const expectations = { '': '0000', '0003': '0004', '0004': '0004', '1999': undefined }
  await db.update(
    inBucket((b) => {
      for (let i = 0; i < 2000; i += 2) b.put(String(i).padStart(4, '0'), 'x'.repeat(30))
    }),
  )
  for (const [key, expected] of Object.entries(expectations)) {
    assert.equal(
      db.view((tx) => from(tx, key)),
      expected,
    )
    assert.equal(await db.update((tx) => from(tx, key)), expected)
  }
})

test('misuse is refused with a class', async () => {
  await using db = await open()
  await db.update(
    inBucket((b) => {
      b.put('value', '')
      b.createBucket('bucket')
      b.put('k'.repeat(32768), '')
      assert.equal(b.get('bucket'), undefined)
      assert.equal(b.bucket('value'), undefined)
      assert.equal(b.get('value')?.length, 0)
      b.delete('missing')
      const invalid = coded('invalid_argument')
      assert.throws(() => b.put('', ''), invalid)
      assert.throws(() => b.put('k'.repeat(32769), ''), invalid)
      assert.throws(() => b.put('bucket', ''), invalid)
      assert.throws(() => b.delete('bucket'), invalid)
      assert.throws(() => b.createBucket(''), invalid)
      assert.throws(() => b.createBucket('value'), invalid)
      assert.throws(() => b.createBucketIfNotExists('value'), invalid)
      assert.throws(() => b.deleteBucket('value'), invalid)
      assert.throws(() => b.createBucket('bucket'), coded('already_exists'))
      assert.throws(() => b.deleteBucket('missing'), coded('not_found'))
    }),
  )
  await assert.rejects(
    db.update((tx) => tx.put('key', '')),
    coded('invalid_argument'),
  )
})

test('sequences count from one, per bucket, and survive reopening', async () => {
  using dir = mkdtempDisposableSync(join(tmpdir(), 'bolt-'))
  const path = join(dir.path, 'db')
  {
    await using db = await openDatabase(path)
    assert.equal(await db.update(inBucket((b) => b.nextSequence())), 1n)
    assert.equal(await db.update(inBucket((b) => b.nextSequence())), 2n)
    await db.update((tx) => tx.createBucket('other').setSequence(2n ** 63n))
  }
  await using db = await openDatabase(path, { readOnly: true })
  assert.equal(
    db.view((tx) => tx.bucket('b')?.sequence),
    2n,
  )
  assert.equal(
    db.view((tx) => tx.bucket('other')?.sequence),
    2n ** 63n,
  )
  await assert.rejects(
    db.update((tx) => tx.createBucket('x')),
    coded('failed_precondition'),
  )
})

test('closing finishes what was asked for and refuses the rest', async () => {
  using dir = mkdtempDisposableSync(join(tmpdir(), 'bolt-'))
  const path = join(dir.path, 'db')
  const db = await openDatabase(path)
  const update = db.update((tx) => tx.createBucket('b'))
  await db[Symbol.asyncDispose]()
  await db[Symbol.asyncDispose]()
  await update
  assert.throws(() => db.view(keys), coded('failed_precondition'))
  await assert.rejects(db.update(keys), coded('failed_precondition'))
  await using again = await openDatabase(path)
  assert.deepEqual(again.view(keys), ['b'])
})

test('a file that is locked is waited for, and then refused by name', async () => {
  using dir = mkdtempDisposableSync(join(tmpdir(), 'bolt-'))
  const path = join(dir.path, 'db')
  const asked: boolean[] = []
  const lock = (_fd: number, exclusive: boolean) => asked.push(exclusive) > 2
  await (await openDatabase(path, { lock, lockTimeoutMs: 10_000 }))[Symbol.asyncDispose]()
  await (await openDatabase(path, { lock, readOnly: true }))[Symbol.asyncDispose]()
  assert.deepEqual(asked, [true, true, true, false])

  const held = { lock: () => false }
  const locked = {
    code: 'failed_precondition',
    message: `database "${path}" is locked by another process (is another containerd or wharfd using this root?)`,
  }
  await assert.rejects(openDatabase(path, { ...held, lockTimeoutMs: 60 }), locked)
  const signal = AbortSignal.timeout(60)
  await assert.rejects(openDatabase(path, { ...held, signal }), locked)
})

test('a file that is replaced while its lock is waited for is not the one that is opened', async () => {
  using dir = mkdtempDisposableSync(join(tmpdir(), 'bolt-'))
  const [path, other] = [join(dir.path, 'db'), join(dir.path, 'other')]
  for (const file of [path, other]) {
    await using db = await openDatabase(file)
    await db.update((tx) => tx.createBucket(file))
  }
  let tries = 0
  const lock = (): boolean => {
    if (++tries === 2) renameSync(other, path)
    return tries > 1
  }
  await using db = await openDatabase(path, { lock, lockTimeoutMs: 5000 })
  assert.deepEqual(db.view(keys), [other])
  assert.equal(tries, 3)
})

test('a file that is no database is refused', async () => {
  using dir = mkdtempDisposableSync(join(tmpdir(), 'bolt-'))
  const path = join(dir.path, 'db')
  writeFileSync(path, 'this is a letter to my grandmother')
  await assert.rejects(openDatabase(path), coded('data_loss'))
  writeFileSync(path, '')
  await assert.rejects(openDatabase(path, { readOnly: true }), coded('data_loss'))
})
