import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { codeOf } from '#lib/errors/errors.ts'

import { digestOf, newHasher, parseDigest } from './digest.ts'

const hex = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'

suite('digest', () => {
  test('a digest has an algorithm and hex digits', () => {
    assert.deepEqual(parseDigest(`sha256:${hex}`), { algorithm: 'sha256', hex })
    assert.equal(parseDigest(`sha512:${hex}${hex}`).algorithm, 'sha512')
  })

  for (const [text, fault] of [
    ['', 'invalid checksum digest format'],
    [hex, 'invalid checksum digest format'],
    ['sha256:', 'invalid checksum digest format'],
    [`:${hex}`, 'invalid checksum digest format'],
    [`sha256:${hex.toUpperCase()}`, 'invalid checksum digest format'],
    [`sha256:../../etc/${hex.slice(10)}`, 'invalid checksum digest format'],
    ['sha256:abc', 'invalid checksum digest length'],
    [`sha384:${hex}`, 'invalid checksum digest length'],
    [`md5:${hex}`, 'unsupported digest algorithm'],
    [`toString:${hex}`, 'invalid checksum digest format'],
    [`md5:a/b`, 'invalid checksum digest format'],
  ] as const) {
    test(`${JSON.stringify(text)} is refused: ${fault}`, () => {
      assert.throws(
        () => parseDigest(text),
        (err: Error) =>
          codeOf(err) === 'invalid_argument' && err.message === `${fault}: invalid argument`,
      )
    })
  }

  test('a hash can be read while it grows', () => {
    const hasher = newHasher()
    hasher.update(Buffer.from('te'))
    assert.equal(hasher.digest(), digestOf('te'))
    hasher.update(Buffer.from('st'))
    assert.equal(hasher.digest(), `sha256:${hex}`)
    assert.equal(digestOf(Buffer.from('test')), `sha256:${hex}`)
    assert.equal(parseDigest(digestOf('test', 'sha384')).hex.length, 96)
  })
})
