import assert from 'node:assert/strict'
import { test } from 'node:test'

import type { TransferPart, TransferProgress } from '#client/transfer/progress.ts'

import { transferLines } from './transfer-text.ts'

const wide = { rows: 24, columns: 200 }
const part = (name: string, event: string, moved = 0, unpacked = 0): TransferPart => ({
  name,
  event,
  isLayer: name.startsWith('layer-'),
  moved,
  total: 8_000_000,
  unpacked,
})
const progress = (parts: readonly TransferPart[], moved = 4e6): TransferProgress => ({
  message: 'Pulling',
  parts,
  moved,
  total: 8e6,
  present: 1e6,
  unpacked: 0,
})
const digest = (first: string): string => `sha256:${first.padEnd(64, '0')}`

test('each part has a line, and the whole has one', () => {
  const parts = [
    part(`manifest-1@${digest('aa')}`, 'complete', 8e6),
    part(`layer-${digest('bb')}`, 'downloading', 4e6),
    part(`layer-${digest('cc')}`, 'extracting', 8e6, 2e6),
    part('r.example/x:1', 'fetching image content'),
  ]
  assert.deepEqual(transferLines(progress(parts), 2000, wide), [
    'manifest  aa0000000000  complete',
    'layer     bb0000000000  downloading  [############------------]  4.0 MB of 8.0 MB',
    'layer     cc0000000000  extracting   [######------------------]  2.0 MB of 8.0 MB',
    '4.0 MB of 8.0 MB, 1.5 MB/s, 3 s left',
  ])
})

test('what was there before makes it no faster, and nothing is foretold at once', () => {
  const layer = part(`layer-${digest('bb')}`, 'downloading', 4e6)
  assert.equal(transferLines(progress([layer]), 500, wide).at(-1), '4.0 MB of 8.0 MB')
  assert.equal(
    transferLines(progress([layer], 8e6), 7000, wide).at(-1),
    '8.0 MB of 8.0 MB, 1.0 MB/s',
  )
})

test('on a small terminal only what goes on is shown, and no line is wider', () => {
  const many = Array.from({ length: 40 }, (_, i) =>
    part(`layer-${digest(String(i + 10))}`, i < 30 ? 'complete' : 'downloading'),
  )
  const lines = transferLines(progress(many), 0, { rows: 5, columns: 20 })
  assert.equal(lines.length, 5)
  assert.deepEqual(lines[0], 'layer  400000000000 ')
})

test('before anything has a size, what is said is shown', () => {
  assert.deepEqual(transferLines({ ...progress([], 0), total: 0 }, 0, wide), ['Pulling'])
})

test('an archive has a line without a digest, and a bar when its size is known', () => {
  const archive = part('archive', 'exporting', 4e6)
  assert.deepEqual(transferLines(progress([archive]), 500, wide), [
    'archive  exporting  [############------------]  4.0 MB of 8.0 MB',
    '4.0 MB of 8.0 MB',
  ])
  const unknown = { ...progress([{ ...archive, event: 'importing', total: 0 }]), total: 0 }
  assert.deepEqual(transferLines(unknown, 2000, wide), [
    'archive  importing  4.0 MB',
    '4.0 MB, 1.5 MB/s',
  ])
  const layer = part(`layer-${digest('bb')}`, 'extracting', 8e6)
  assert.deepEqual(transferLines(progress([part('archive', 'complete', 8e6), layer]), 500, wide), [
    'archive                complete',
    'layer    bb0000000000  extracting',
    '4.0 MB of 8.0 MB',
  ])
})
