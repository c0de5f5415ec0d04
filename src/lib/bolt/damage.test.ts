import assert from 'node:assert/strict'
import { test } from 'node:test'

import { CodedError } from '#lib/errors/errors.ts'
import { afterKill, MemoryFile } from '#testing/memory-file.ts'
import { soak, soakMs } from '#testing/soak.ts'

import type { ReadBucket } from './database.ts'
import { openFile } from './open.ts'

async function sample(): Promise<Buffer> {
  const file = new MemoryFile()
  await using db = await openFile(file, {})
  await db.update((tx) => {
    for (let i = 0; i < 10; i++) {
      const bucket = tx.createBucket(`bucket-${i}`)
      for (let k = 0; k < 30; k++) bucket.put(`key-${k}`, 'value'.repeat(i * k))
      for (let k = 0; k < 5; k++) bucket.createBucket(`inline-${k}`).put('a', 'b')
    }
  })
  return afterKill(file.steps)
}

function readAll(bucket: ReadBucket, depth = 0): void {
  for (const { key, value } of bucket.entries()) {
    bucket.get(key)
    const child = value === undefined && depth < 4 ? bucket.bucket(key) : undefined
    if (child) readAll(child, depth + 1)
  }
}

async function useAll(image: Buffer): Promise<void> {
  await using db = await openFile(new MemoryFile(image), {})
  db.view((tx) => readAll(tx))
  await db.update((tx) => {
    const names = [...tx.entries()].map(({ key }) => key)
    for (const name of names.slice(0, 5)) tx.deleteBucket(name)
    tx.createBucketIfNotExists('new').put('key', 'value')
  })
}

test('damaged bytes give an error or are not noticed', { timeout: soakMs(120_000) }, async () => {
  const image = await sample()
  await soak('bolt-damage', 300, async ({ below: rand }) => {
    const damaged = Buffer.from(image)
    for (let n = rand(8); n >= 0; n--) {
      const page = rand(image.length / 4096) * 4096
      damaged[page + rand(rand(2) === 0 ? 256 : 4096)] = rand(256)
    }
    await useAll(damaged).catch((err: unknown) => {
      assert.ok(err instanceof CodedError, String(err instanceof Error ? err.stack : err))
    })
  })
})

test('a database survives the loss of either meta page', async () => {
  const image = await sample()
  for (const page of [0, 1]) {
    const damaged = Buffer.from(image)
    damaged.fill(0xff, page * 4096, (page + 1) * 4096)
    await useAll(damaged)
  }
})
