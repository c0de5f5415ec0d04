import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { digestOf } from '#lib/digest/digest.ts'

import { isLoopback, parsePullable, parseReference } from './reference.ts'

const digest = digestOf('')

suite('references', () => {
  test('are split as containerd does', () => {
    const cases = [
      ['docker.io/library/alpine:3.20', 'docker.io', 'library/alpine', '3.20', ''],
      ['localhost:5000/a', 'localhost:5000', 'a', '', ''],
      [`reg.example/a/b@${digest}`, 'reg.example', 'a/b', '', digest],
      [`reg.example/a/b:1@${digest}`, 'reg.example', 'a/b', '1', digest],
      ['[::1]:5000/a:b', '[::1]:5000', 'a', 'b', ''],
      ['alpine', 'alpine', '', '', ''],
    ] as const
    for (const [text, host, repository, tag, dgst] of cases) {
      const got = parseReference(text)
      assert.deepEqual(
        [got.host, got.repository, got.tag, got.digest],
        [host, repository, tag, dgst],
      )
    }
    assert.equal(parseReference(`a.b/c:d@${digest}`).object, `d@${digest}`)
    assert.equal(parseReference(`a.b/c@${digest}`).object, `@${digest}`)
  })

  test('that are none say why', () => {
    const bad = [
      ['https://reg.example/a:1', /must not have a scheme/],
      ['/a:1', /hostname required/],
      ['', /hostname required/],
      ['alpine:latest', /"alpine:latest" is not a host name; a complete reference begins/],
      ['user:pass@reg.example/a', /is not a host name/],
      ['reg.example/a b', /spaces/],
      ['reg.example/a?x=1', /one of \?/],
      ['reg.example/%2e%2e/a:1', /one of/],
      ['reg.example:port/a', /is not a host name/],
    ] as const
    for (const [text, message] of bad) assert.throws(() => parseReference(text), message, text)
  })

  test('that would lead elsewhere are not asked for', () => {
    const bad = [
      ['reg.example', /names no repository/],
      ['reg.example/a/../../b:1', /is not the name of a repository/],
      ['reg.example/a//b:1', /is not the name of a repository/],
      ['reg.example/a:..', /is not a tag/],
      ['reg.example/a:x/../y', /is not a tag/],
      ['reg.example/a@sha256:abc', /invalid checksum digest length/],
      [`reg.example/a:${'x'.repeat(129)}`, /is not a tag/],
    ] as const
    for (const [text, message] of bad) assert.throws(() => parsePullable(text), message, text)
  })

  test('know this machine', () => {
    for (const own of ['localhost', 'localhost:5000', '127.0.0.1', '127.1.2.3:80', '[::1]:5000']) {
      assert.ok(isLoopback(own), own)
    }
    for (const other of ['localhost.example', '127.0.0.1.nip.io', '10.0.0.1', 'docker.io']) {
      assert.ok(!isLoopback(other), other)
    }
  })
})
