import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtempDisposableSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'

import { soak, soakMs } from '#testing/soak.ts'

import type { Bucket, ReadBucket } from './database.ts'
import { openDatabase } from './open.ts'

const writerOf = process.env['BOLT_TEST_WRITER']
const writers = 8

if (writerOf === undefined) defineTest()
else await write(writerOf)

/** The child: counts up in a few buckets at once, and says each number once it is durable. */
async function write(path: string): Promise<void> {
  const db = await openDatabase(path)
  const count = async (name: string) => {
    for (;;) {
      const n = await db.update((tx) => advance(tx, name))
      process.stdout.write(`${name} ${n}\n`)
    }
  }
  await Promise.all(Array.from({ length: writers }, (_, i) => count(`writer-${i}`)))
}

/** Adds record `n` and drops record `n - 10`, so that pages are used again and again. */
function advance(tx: Bucket, name: string): number {
  const bucket = tx.createBucketIfNotExists(name)
  const n = Number(bucket.nextSequence())
  const record = bucket.createBucket(`record-${n}`)
  record.put('number', String(n))
  record.put('filling', String(n).repeat(n % 50 === 0 ? 5000 : 20))
  if (n > 10) bucket.deleteBucket(`record-${n - 10}`)
  return n
}

/** Fails unless the bucket is as some run of `advance` left it. Gives the last number. */
function checkWriter(bucket: ReadBucket): number {
  const last = Number(bucket.sequence)
  const expected = Array.from({ length: Math.min(10, last) }, (_, i) => `record-${last - i}`)
  const names = [...bucket.entries()].map(({ key }) => Buffer.from(key).toString())
  assert.deepEqual(names, expected.toSorted())
  for (const name of names) {
    const number = String(bucket.bucket(name)?.get('number'))
    assert.equal(`record-${number}`, name)
  }
  return last
}

async function runAndKill(path: string, lines: number): Promise<Map<string, number>> {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  const child = spawn(process.execPath, [import.meta.filename], {
    env: { ...env, BOLT_TEST_WRITER: path },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const acked = new Map<string, number>()
  let left = lines
  for await (const line of createInterface({ input: child.stdout })) {
    const [name, n] = line.split(' ')
    if (name !== undefined && Number(n) > 0) acked.set(name, Number(n))
    if (--left === 0) child.kill('SIGKILL')
  }
  return acked
}

function defineTest(): void {
  test('nothing acknowledged is lost by kill -9', { timeout: soakMs(120_000) }, async () => {
    using dir = mkdtempDisposableSync(join(tmpdir(), 'bolt-kill-'))
    const path = join(dir.path, 'db')
    await soak('bolt-kill', 20, async ({ below, count }) => {
      const acked = await runAndKill(path, 1 + below(400))
      await using db = await openDatabase(path)
      db.view((tx) => {
        for (const [name, n] of acked) {
          const bucket = tx.bucket(name)
          assert.ok(bucket)
          assert.ok(checkWriter(bucket) >= n, `${name} lost ${n}`)
        }
      })
      await db.update((tx) => tx.createBucketIfNotExists('after'))
      count('killed writer')
    })
  })
}
