import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { codeOf } from '#lib/errors/errors.ts'

import { parsePattern } from './pattern.ts'
import { isSameRepository, repositoriesOf } from './repository-name.ts'

const digest = `sha256:${'a'.repeat(64)}`

suite('names under a policy', () => {
  for (const name of [
    'alpine',
    'alpine:3.20',
    `alpine@${digest}`,
    `alpine:3.20@${digest}`,
    'ALPINE',
    'docker.io/alpine',
    'docker.io/library/alpine:latest',
    'Docker.IO/Library/Alpine',
    'docker.io:443/library/alpine',
    'docker.io:0443/library/alpine',
    'index.docker.io/library/alpine',
    'registry-1.docker.io/library/alpine',
    'INDEX.docker.io:443/alpine:3',
    'docker.io/library/alpine/',
  ]) {
    test(`${name} is docker.io/library/alpine`, () => {
      assert.deepEqual(repositoriesOf(name), ['docker.io/library/alpine'])
    })
  }

  for (const [name, expected] of [
    ['localhost/app', ['localhost/app']],
    ['localhost:5000/app:1', ['localhost:5000/app']],
    ['127.1:5000/app', ['127.0.0.1:5000/app']],
    ['0x7f.0.0.1:5000/app', ['127.0.0.1:5000/app']],
    ['[0:0:0:0:0:0:0:1]:5000/app', ['[::1]:5000/app']],
    ['registry.example/a/b/c:1', ['registry.example/a/b/c']],
    // Docker's reading and containerd's own.
    ['team/app:1', ['team/app', 'docker.io/team/app']],
    ['library/alpine', ['library/alpine', 'docker.io/library/alpine']],
  ] as const) {
    test(`${name} is ${expected.join(' or ')}`, () => {
      assert.deepEqual(repositoriesOf(name), expected)
    })
  }

  for (const name of [
    '',
    ':1',
    'docker.io',
    'docker.io/',
    'docker.io//library/alpine',
    'docker.io/library/../evil/alpine',
    'docker.io/library/alpine:tag with spaces',
    'docker.io/library/alpine@sha256:abc',
    'https://docker.io/library/alpine',
    'docker.io/library%2falpine',
    'user@docker.io/library/alpine',
    'docker.io\u0000/library/alpine',
    'docker.io./library/alpine',
    'ⅾocker.io/library/alpine',
  ]) {
    test(`${JSON.stringify(name)} is no name that a rule can be found for`, () => {
      const found = repositoriesOf(name)
      // A host alone reads as an image of Docker Hub that nobody can have.
      assert.ok(found === undefined || !found.includes('docker.io/library/alpine'))
      if (name !== 'docker.io') assert.equal(found, undefined)
    })
  }

  test('two spellings are one repository, two repositories are not', () => {
    assert.ok(isSameRepository('index.docker.io/library/alpine', 'alpine:3'))
    assert.ok(!isSameRepository('docker.io/library/alpine', 'docker.io/evil/alpine'))
    assert.ok(!isSameRepository('registry.example/app', 'registry.example:5000/app'))
    assert.ok(!isSameRepository('', ''))
  })
})

suite('patterns of repositories', () => {
  for (const [text, matching, others] of [
    [
      'docker.io/library/*',
      ['docker.io/library/alpine'],
      ['docker.io/library/a/b', 'docker.io/team/app', 'evil.example/docker.io/library/alpine'],
    ],
    ['Index.Docker.IO/alpine', ['docker.io/library/alpine'], ['docker.io/team/alpine']],
    ['docker.io/*', ['docker.io/library/alpine'], ['docker.io/team/app']],
    [
      'registry.example/team/**',
      ['registry.example/team/a', 'registry.example/team/a/b'],
      ['registry.example/team', 'registry.example/teams/a', 'registryxexample/team/a'],
    ],
    ['registry.example:443/**', ['registry.example/a/b'], ['registry.example:5000/a']],
    ['*.example/app-*', ['a.example/app-1'], ['a.example/app', 'a.b/c.example/app-1']],
    ['registry.example/**/prod', ['registry.example/a/b/prod'], ['registry.example/prod']],
    ['*/**', ['docker.io/a/b', 'x.example:5000/c'], []],
    ['**', ['docker.io/library/alpine', 'x.example:5000/c'], []],
  ] as const) {
    test(`${text} is about ${matching.join(', ')} and no others`, () => {
      const pattern = parsePattern(text)
      for (const repository of matching) assert.ok(pattern.matches(repository), repository)
      for (const repository of others) assert.ok(!pattern.matches(repository), repository)
    })
  }

  for (const [text, why] of [
    ['alpine', /registry/],
    ['library/alpine', /no registry/],
    ['docker.io/library/alpine:3.20', /tag or a digest/],
    [`docker.io/library/alpine@${digest}`, /tag or a digest/],
    ['docker.io//alpine', /not <registry>/],
    ['docker.io/lib**/alpine', /whole segments/],
    ['docker.io/(a|b)', /not a part of a name/],
    ['https://docker.io/a', /not <registry>/],
    ['', /not <registry>/],
  ] as const) {
    test(`${JSON.stringify(text)} is refused`, () => {
      assert.throws(
        () => parsePattern(text),
        (err: Error) => codeOf(err) === 'invalid_argument' && why.test(err.message),
      )
    })
  }
})
