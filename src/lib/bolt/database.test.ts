import assert from 'node:assert/strict'
import { mkdtempDisposableSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { hasCode } from '#lib/errors/errors.ts'
import { afterKill, MemoryFile } from '#testing/memory-file.ts'
import { random } from '#testing/random.ts'

import { inBucket, keys } from './bucket.fixture.ts'
import type { Bucket, Database, Key, ReadBucket } from './database.ts'
import { openDatabase, openFile } from './open.ts'

const open = async (): Promise<Database> => await openFile(new MemoryFile(), {})

const coded = (code: Parameters<typeof hasCode>[1]) => (err: unknown) => hasCode(err, code)

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
