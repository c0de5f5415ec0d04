import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { KeyedMutex } from './keyed-mutex.ts'

void suite('KeyedMutex', () => {
  void test('one key is held by one at a time, in order of arrival', async () => {
    const mutex = new KeyedMutex()
    const seen: string[] = []
    const work = async (name: string): Promise<void> => {
      using _held = await mutex.lock('a')
      seen.push(`${name} in`)
      await new Promise(setImmediate)
      seen.push(`${name} out`)
    }
    await Promise.all([work('first'), work('second')])
    assert.deepEqual(seen, ['first in', 'first out', 'second in', 'second out'])
  })

  void test('keys do not wait for each other', async () => {
    const mutex = new KeyedMutex()
    using _a = await mutex.lock('a')
    using _b = await mutex.lock('b')
  })

  void test('an abandoned wait does not keep the key', async () => {
    const mutex = new KeyedMutex()
    const held = await mutex.lock('a')
    await assert.rejects(mutex.lock('a', { signal: AbortSignal.timeout(1) }))
    held[Symbol.dispose]()
    using _again = await mutex.lock('a')
  })

  void test('sets of keys that overlap do not deadlock', async () => {
    const mutex = new KeyedMutex()
    const take = async (keys: string[]): Promise<void> => {
      using _held = await mutex.lockAll(keys)
      await new Promise(setImmediate)
    }
    await Promise.all([take(['a', 'b']), take(['b', 'a']), take(['a', 'a'])])
  })
})
