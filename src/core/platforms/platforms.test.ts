import assert from 'node:assert/strict'
import { test } from 'node:test'

import { codeOf } from '#lib/errors/errors.ts'

import {
  formatPlatform,
  formatWholePlatform,
  hostPlatform,
  hostPlatformName,
  normalizePlatform,
  parsePlatform,
} from './platforms.ts'

test('a platform is completed from this machine, by any name of its parts', () => {
  for (const [text, expected] of [
    ['linux', hostPlatformName],
    ['windows', hostPlatformName.replace('linux', 'windows')],
    ['macOS', hostPlatformName.replace('linux', 'darwin')],
    ['aarch64', 'linux/arm64'],
    ['armel', 'linux/arm/v6'],
    ['armhf', 'linux/arm'],
    ['Linux/x86_64', 'linux/amd64'],
    ['linux/x86-64/v1', 'linux/amd64'],
    ['linux/amd64/v3', 'linux/amd64/v3'],
    ['linux/arm/v7', 'linux/arm/v7'],
    ['linux/arm/7', 'linux/arm/v7'],
    ['linux/arm64/v8', 'linux/arm64/v8'],
    ['plan9/amd64', 'plan9/amd64'],
  ] as const) {
    assert.equal(formatPlatform(parsePlatform(text)), expected, text)
  }
})

test('the version and the features of a system are read and written', () => {
  const text = 'windows(10.0.17763+win32k)/amd64'
  const platform = parsePlatform(text)
  assert.deepEqual(platform, {
    os: 'windows',
    architecture: 'amd64',
    variant: '',
    osVersion: '10.0.17763',
    osFeatures: ['win32k'],
  })
  assert.equal(formatWholePlatform(platform), text)
  assert.equal(formatPlatform(platform), 'windows/amd64')
  assert.equal(formatWholePlatform(parsePlatform('linux(+erofs)/amd64')), 'linux(+erofs)/amd64')
  const odd = { os: 'linux', architecture: 'arm', variant: '', osVersion: '5+(a)/%' }
  assert.deepEqual(parsePlatform(formatWholePlatform(odd)), odd)
})

test('what is none is refused', () => {
  for (const text of [
    '',
    'beos',
    'a/b/c/d',
    'linux/',
    '/amd64',
    'linux amd64',
    '*',
    'linux(%zz)',
  ]) {
    assert.throws(
      () => parsePlatform(text),
      (err) => codeOf(err) === 'invalid_argument',
      text,
    )
  }
})

test('one thing has one name', () => {
  const of = (os: string, architecture: string, variant = ''): string =>
    formatPlatform(normalizePlatform({ os, architecture, variant }))
  assert.equal(of('', 'arm'), 'linux/arm/v7')
  assert.equal(of('MacOS', 'aarch64', 'V8'), 'darwin/arm64')
  assert.equal(of('linux', 'arm64', '9'), 'linux/arm64/v9')
  assert.equal(of('linux', 'i386', 'v2'), 'linux/386')
  assert.equal(formatPlatform({ ...hostPlatform, os: '' }), 'unknown')
})
