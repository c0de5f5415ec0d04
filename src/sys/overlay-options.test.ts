import assert from 'node:assert/strict'
import { test } from 'node:test'

import {
  beside,
  joinOverlayOptions,
  splitOverlayOptions,
  unescapeLower,
} from './overlay-options.ts'

test('the directories below are taken out and put in again', () => {
  const options = ['ro', String.raw`lowerdir=/a\:b/c:/d\\`, 'index=off']
  const parts = splitOverlayOptions(options)
  assert.deepEqual(parts, {
    lower: [String.raw`/a\:b/c`, String.raw`/d\\`],
    others: ['ro', 'index=off'],
  })
  assert.deepEqual(joinOverlayOptions(parts), ['ro', 'index=off', options[1]])
  assert.deepEqual(parts.lower.map(unescapeLower), ['/a:b/c', '/d\\'])
  assert.deepEqual(splitOverlayOptions(['upperdir=/x']), { lower: [], others: ['upperdir=/x'] })
})

test('directories are named from what holds all of them', () => {
  assert.deepEqual(beside(['/r/s/1/fs']), { common: '/r/s/1', names: ['fs'] })
  assert.deepEqual(beside(['/r/s/12/fs', '/r/s/1/fs']), {
    common: '/r/s',
    names: ['12/fs', '1/fs'],
  })
  assert.deepEqual(beside(['/r/s', '/r/s/t']), { common: '/r', names: ['s', 's/t'] })
  assert.deepEqual(beside(['/a/b', '/c']), { common: '/', names: ['a/b', 'c'] })
  assert.deepEqual(beside([String.raw`/r\:/1`, String.raw`/r\:/2`]), {
    common: '/r:',
    names: ['1', '2'],
  })
})
