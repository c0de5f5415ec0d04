import assert from 'node:assert/strict'
import { test } from 'node:test'

import { progressText } from './progress-bar.ts'

test('progress is told in bytes, with the time that is left once that can be known', () => {
  const progress = { stage: 'reading blobs', done: 1e9, total: 4e9 }
  assert.match(
    progressText(progress, 500),
    /^reading blobs \[#+-+\] {2}25 % {2}1\.0 GB of 4\.0 GB$/,
  )
  assert.match(progressText(progress, 30_000), / 1\.0 GB of 4\.0 GB, 1 min 30 s left$/)
  assert.match(
    progressText({ ...progress, done: 4e9 }, 9000),
    / 100 % {2}4\.0 GB of 4\.0 GB, 0 s left$/,
  )
})

test('work that reads nothing that could be counted is only named', () => {
  assert.equal(progressText({ stage: 'repairing', done: 7, total: 0 }, 5000), 'repairing')
})
