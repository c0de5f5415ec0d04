import assert from 'node:assert/strict'
import { test } from 'node:test'

import { normalizeReference, tagOf } from './reference.ts'

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
    [`alpine@${digest}`]: `docker.io/library/alpine@${digest}`,
    [`alpine:3@${digest}`]: `docker.io/library/alpine@${digest}`,
  }
  for (const [short, full] of Object.entries(names)) assert.equal(normalizeReference(short), full)
})

test('the tag of a name is its last part; a digest is no tag', () => {
  assert.equal(tagOf('docker.io/library/alpine:3'), '3')
  assert.equal(tagOf('localhost:5000/app'), 'localhost:5000/app')
  assert.equal(tagOf(`docker.io/library/alpine@${digest}`), `docker.io/library/alpine@${digest}`)
})
