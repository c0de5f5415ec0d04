import assert from 'node:assert/strict'
import { mkdtempDisposableSync, renameSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { hasCode } from '#lib/errors/errors.ts'

import { keys } from './bucket.fixture.ts'
import { openDatabase } from './open.ts'

const coded = (code: Parameters<typeof hasCode>[1]) => (err: unknown) => hasCode(err, code)

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
