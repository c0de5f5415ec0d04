import { randomBytes } from 'node:crypto'

import { writeBlob } from '#core/content/write-blob.ts'
import { silent as log } from '#core/context.ts'
import { digestOf } from '#lib/digest/digest.ts'

import { LocalStore } from './local-store.ts'

/* The program that a test kills: it commits blobs in a store until then, and says which. */

const ctx = { signal: new AbortController().signal, log }
const store = LocalStore.open(ctx, process.argv[2] ?? '')

async function write(worker: number): Promise<never> {
  for (let at = 0; ; at++) {
    const bytes = randomBytes(100_000 + at)
    const chunks = [bytes.subarray(0, 50_000), bytes.subarray(50_000)]
    await writeBlob(ctx, store, chunks, { ref: `${worker}-${at}` })
    process.stdout.write(`${digestOf(bytes)}\n`)
  }
}

await Promise.all([0, 1, 2, 3].map(write))
