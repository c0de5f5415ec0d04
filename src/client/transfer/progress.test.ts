import assert from 'node:assert/strict'
import { test } from 'node:test'

import type { Progress } from '#core/transfer/transfer.ts'

import { ProgressSum, type TransferProgress } from './progress.ts'

const hex = 'ab'.repeat(32)
const layer = `layer-sha256:${hex}`
const config = `config-sha256:${hex}`

function after(...events: readonly Progress[]): TransferProgress {
  const sum = new ProgressSum()
  for (const event of events) sum.add(event)
  return sum.state
}

test('a layer is moved, and then unpacked', () => {
  const steps: readonly (readonly [Progress, moved: number, unpacked: number])[] = [
    [{ event: 'waiting', name: layer, total: 100 }, 0, 0],
    [{ event: 'downloading', name: layer, progress: 40, total: 100 }, 40, 0],
    [{ event: 'complete', name: layer, progress: 100, total: 100 }, 100, 0],
    [{ event: 'extracting', name: layer, progress: 0, total: 100 }, 100, 0],
    [{ event: 'extracting', name: layer, progress: 70, total: 100 }, 100, 70],
    [{ event: 'extracted', name: layer, progress: 100, total: 100 }, 100, 100],
  ]
  const sum = new ProgressSum()
  for (const [event, moved, unpacked] of steps) {
    sum.add(event)
    const { total, ...state } = sum.state
    assert.deepEqual([state.moved, state.unpacked, total], [moved, unpacked, 100], event.event)
  }
})

test('what was there before counts as moved, and is told apart', () => {
  const { moved, total, present } = after(
    { event: 'already exists', name: config, progress: 10, total: 10 },
    { event: 'downloading', name: layer, progress: 5, total: 80 },
    { event: 'waiting', name: `manifest-1@sha256:${hex}`, total: 10 },
  )
  assert.deepEqual({ moved, total, present }, { moved: 15, total: 100, present: 10 })
})

test('sentences and names of images are told and have no bytes', () => {
  const target = { mediaType: 'm', digest: `sha256:${hex}`, size: 500 }
  const { message, total, parts } = after(
    { event: 'Resolving' },
    { event: 'saved', name: 'r.example/x:1', descriptor: target },
    { event: 'Completed' },
  )
  assert.deepEqual([message, total], ['Completed', 0])
  assert.deepEqual(
    parts.map(({ name, event }) => [name, event]),
    [['r.example/x:1', 'saved']],
  )
})

test('more than the whole is never done', () => {
  const { moved, total } = after({ event: 'downloading', name: layer, progress: 200, total: 100 })
  assert.deepEqual([moved, total], [100, 100])
})

test('what is in an archive travels as part of it', () => {
  const { moved, total, unpacked } = after(
    { event: 'importing', name: 'archive', progress: 40, total: 200 },
    { event: 'extracted', name: layer, progress: 100, total: 100 },
  )
  assert.deepEqual({ moved, total, unpacked }, { moved: 40, total: 200, unpacked: 100 })
  const unknown = after({ event: 'importing', name: 'archive', progress: 40, total: 0 })
  assert.deepEqual([unknown.moved, unknown.total], [40, 0])
})
