import assert from 'node:assert/strict'
import { test } from 'node:test'

import { hostPlatform, parsePlatform } from './platforms.ts'

test('a platform is completed from this machine, by any name of its parts', () => {
  for (const [text, expected] of [
    ['linux', hostPlatform],
    ['windows', hostPlatform.replace('linux', 'windows')],
    ['aarch64', 'linux/arm64'],
    ['Linux/x86_64', 'linux/amd64'],
    ['linux/arm/v7', 'linux/arm/v7'],
    ['plan9/amd64', 'plan9/amd64'],
  ] as const) {
    assert.equal(parsePlatform(text), expected, text)
  }
})

test('what is none has no meaning', () => {
  for (const text of ['', 'beos', 'a/b/c/d', 'linux/', '/amd64', 'linux amd64']) {
    assert.equal(parsePlatform(text), undefined, text)
  }
})
