import assert from 'node:assert/strict'
import { test } from 'node:test'

import { codeOf } from '#lib/errors/errors.ts'

import { familiarReference, normalizeReference, refNameOf } from './docker-reference.ts'

const digest = `sha256:${'a'.repeat(64)}`

test('a name is completed as docker completes it', () => {
  const names = {
    alpine: 'docker.io/library/alpine:latest',
    'alpine:3': 'docker.io/library/alpine:3',
    'user/app': 'docker.io/user/app:latest',
    'index.docker.io/alpine': 'docker.io/library/alpine:latest',
    'docker.io/library/alpine:3': 'docker.io/library/alpine:3',
    'localhost/app': 'localhost/app:latest',
    'localhost:5000/app': 'localhost:5000/app:latest',
    'registry.example/a/b:c': 'registry.example/a/b:c',
    '[::1]:5000/a:b': '[::1]:5000/a:b',
    [`alpine@${digest}`]: `docker.io/library/alpine@${digest}`,
    [`alpine:3@${digest}`]: `docker.io/library/alpine@${digest}`,
  }
  for (const [short, full] of Object.entries(names)) assert.equal(normalizeReference(short), full)
})

test('a complete name has a familiar form', () => {
  const names = {
    'docker.io/library/alpine:3': 'alpine:3',
    'docker.io/library/alpine': 'alpine:latest',
    'docker.io/library/a/b:c': 'library/a/b:c',
    'docker.io/user/app:1': 'user/app:1',
    'registry.example/a/b:c': 'registry.example/a/b:c',
    [`docker.io/library/alpine@${digest}`]: `alpine@${digest}`,
    [`docker.io/library/alpine:3@${digest}`]: `alpine:3@${digest}`,
  }
  for (const [full, short] of Object.entries(names)) assert.equal(familiarReference(full), short)
})

test('what is no name is refused', () => {
  for (const name of [
    '',
    'Alpine',
    'alpine:',
    'alpine:a b',
    'a//b',
    'a/../b',
    '-x',
    'x@sha256:1',
    'x'.padStart(64, 'a').replace('x', 'a'),
  ]) {
    for (const parse of [normalizeReference, familiarReference]) {
      assert.throws(
        () => parse(name),
        (err) => codeOf(err) === 'invalid_argument',
        name,
      )
    }
  }
})

test('the reference name of an image is its tag or digest; all of it when it has no such form', () => {
  assert.equal(refNameOf('docker.io/library/alpine:3'), '3')
  assert.equal(refNameOf('localhost:5000/app'), '')
  assert.equal(refNameOf(`docker.io/library/alpine@${digest}`), `@${digest}`)
  assert.equal(refNameOf('alpine:latest'), 'alpine:latest')
})
