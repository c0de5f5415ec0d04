import assert from 'node:assert/strict'
import { test } from 'node:test'

import {
  anyPlatform,
  bestOf,
  onlyPlatform,
  onlySystemOf,
  orderedPlatforms,
  type PlatformMatcher,
} from './match.ts'
import { formatWholePlatform, parsePlatform } from './platforms.ts'

/** Those of `texts` that suit, the best first. */
const chosen = (matcher: PlatformMatcher, texts: string): string =>
  bestOf(
    texts.split(' ').map((text) => ({ platform: parsePlatform(text) })),
    matcher,
  )
    .map(({ platform }) => formatWholePlatform(platform))
    .join(' ')
const only = (wanted: string, texts: string): string =>
  chosen(onlyPlatform(parsePlatform(wanted)), texts)

test('a machine runs its own platform and those below it, its own first', () => {
  const arms = 'linux/arm/v5 linux/arm/v6 linux/arm/v7 linux/arm64 linux/amd64 windows/arm/v6'
  assert.equal(only('linux/arm/v6', arms), 'linux/arm/v6 linux/arm/v5')
  assert.equal(only('linux/arm/v7', arms), 'linux/arm/v7 linux/arm/v6 linux/arm/v5')
  assert.equal(only('linux/arm64', arms), 'linux/arm64 linux/arm/v7 linux/arm/v6 linux/arm/v5')
  const pcs = 'linux/386 linux/amd64/v1 linux/amd64/v2 linux/amd64/v3 linux/amd64/v4'
  assert.equal(only('linux/amd64', pcs), 'linux/amd64 linux/386')
  assert.equal(only('linux/amd64/v3', pcs), 'linux/amd64/v3 linux/amd64/v2 linux/amd64 linux/386')
  assert.equal(only('linux/s390x', `${arms} ${pcs}`), '')
})

test('a newer ARM of 64 bits runs what older ones run', () => {
  const all = 'linux/arm64/v8 linux/arm64/v8.6 linux/arm64/v8.7 linux/arm64/v9 linux/arm64/v9.1'
  assert.equal(only('linux/arm64/v8.6', all), 'linux/arm64/v8.6 linux/arm64/v8')
  assert.equal(
    only('linux/arm64/v9.1', all),
    'linux/arm64/v9.1 linux/arm64/v9 linux/arm64/v8.6 linux/arm64/v8',
  )
  assert.equal(only('linux/arm64/v9', all), 'linux/arm64/v9 linux/arm64/v8')
  assert.equal(only('linux/arm64', 'linux/arm64/v8 linux/arm64/v8.1'), 'linux/arm64/v8')
})

test('what says nothing suits, and comes last', () => {
  const entries = [
    { name: 'a' },
    { name: 'b', platform: parsePlatform('linux/386') },
    { name: 'c' },
  ]
  const best = bestOf(entries, onlyPlatform(parsePlatform('linux/amd64')))
  assert.deepEqual(
    best.map(({ name }) => name),
    ['b', 'a', 'c'],
  )
})

test('of several that are wanted, the first is best, and nothing else suits', () => {
  const matcher = orderedPlatforms([parsePlatform('linux/arm64'), parsePlatform('linux/amd64')])
  assert.equal(
    chosen(matcher, 'linux/386 linux/amd64 linux/arm64 linux/arm/v7'),
    'linux/arm64 linux/amd64',
  )
  assert.equal(chosen(anyPlatform, 'linux/386 linux/amd64'), 'linux/386 linux/amd64')
})

test('features of the system must be there, and more of them are better', () => {
  const texts = 'linux/amd64 linux(+erofs)/amd64 linux(+other)/amd64'
  assert.equal(only('linux/amd64', texts), 'linux/amd64')
  assert.equal(only('linux(+erofs)/amd64', texts), 'linux(+erofs)/amd64 linux/amd64')
})

test('Windows runs what was made for it, from 2022 on also for the one before', () => {
  const texts =
    'windows(10.0.17763.1)/amd64 windows(10.0.20348.1)/amd64 windows(10.0.26100.1)/amd64 windows/amd64'
  assert.equal(
    only('windows(10.0.17763)/amd64', texts),
    'windows(10.0.17763.1)/amd64 windows/amd64',
  )
  assert.equal(
    only('windows(10.0.26100.9)/amd64', texts),
    'windows(10.0.20348.1)/amd64 windows(10.0.26100.1)/amd64 windows/amd64',
  )
  assert.equal(
    only('windows/amd64', 'windows(10.0.1.1+win32k)/amd64'),
    'windows(10.0.1.1+win32k)/amd64',
  )
})

test('a system alone suits every machine, its own first', () => {
  const matcher = onlySystemOf(parsePlatform('linux/arm64'))
  assert.equal(
    chosen(matcher, 'linux/amd64 windows/arm64 linux/arm64 linux(+x)/arm64'),
    'linux/arm64 linux/amd64',
  )
})
