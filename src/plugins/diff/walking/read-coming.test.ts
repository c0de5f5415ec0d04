import assert from 'node:assert/strict'
import { appendFileSync, writeFileSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { readComingPieces } from './read-coming.ts'

const size = 100_000

/** A file of which 10 bytes are there, and how it goes on. */
async function withBlob(
  body: (
    blob: Parameters<typeof readComingPieces>[0],
    grow: (bytes: number) => void,
    end: () => void,
  ) => Promise<void>,
): Promise<void> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'coming-'))
  const path = join(dir.path, 'data')
  const there = new BigInt64Array(new SharedArrayBuffer(8))
  writeFileSync(path, Buffer.alloc(10, 1))
  there[0] = 10n
  const set = (value: bigint): void => {
    Atomics.store(there, 0, value)
    Atomics.notify(there, 0)
  }
  const grow = (bytes: number): void => {
    appendFileSync(path, Buffer.alloc(bytes, 2))
    set(Atomics.load(there, 0) + BigInt(bytes))
  }
  await body({ path, size, there }, grow, () => set(-1n))
}

suite('a blob that still comes', () => {
  test('is read as it grows, and no further than is said to be there', async () => {
    await withBlob(async (blob, grow) => {
      const read: number[] = []
      for await (const piece of readComingPieces(blob, () => undefined, 40_000)) {
        read.push(piece.length)
        assert.equal(piece[0], read.length === 1 ? 1 : 2)
        if (read.length === 1) setImmediate(() => grow(70_000))
        if (read.length === 3) setImmediate(() => grow(size - 70_010))
      }
      assert.deepEqual(read, [10, 40_000, 30_000, size - 70_010])
    })
  })

  test('is an error when the rest does not come', async () => {
    await withBlob(async (blob, _grow, end) => {
      setImmediate(end)
      const reading = Array.fromAsync(readComingPieces(blob, () => undefined))
      await assert.rejects(reading, /the rest of the blob does not come/)
    })
  })

  test('is not waited for by whoever is to stop', async () => {
    await withBlob(async (blob) => {
      const check = (): void => {
        throw new Error('cancelled')
      }
      await assert.rejects(Array.fromAsync(readComingPieces(blob, check)), /cancelled/)
    })
  })
})
