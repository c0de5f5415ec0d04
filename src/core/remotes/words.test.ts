import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { parseChallenges } from './challenge.ts'
import { proxyFor } from './proxy.ts'
import { Redactor } from './redact.ts'
import { retryAfterMs, waitBefore } from './retry.ts'
import { mergeScopes } from './scope.ts'

suite('challenges', () => {
  test('are read, several in a line or in several', () => {
    assert.deepEqual(
      parseChallenges([
        'Bearer realm="https://a/t?x=1,2",service="s \\"q\\"", scope="r:a:pull,push"',
      ]),
      [
        {
          scheme: 'bearer',
          parameters: { realm: 'https://a/t?x=1,2', service: 's "q"', scope: 'r:a:pull,push' },
        },
      ],
    )
    const schemes = (...values: string[]): string[] =>
      parseChallenges(values).map(({ scheme }) => scheme)
    assert.deepEqual(schemes('Basic realm="a", Bearer realm="b"'), ['basic', 'bearer'])
    assert.deepEqual(schemes('Negotiate', 'NEGOTIATE abc==, Basic'), [
      'negotiate',
      'negotiate',
      'basic',
    ])
    assert.equal(
      parseChallenges(['Bearer realm=https://a/t'])[0]?.parameters['realm'],
      'https://a/t',
    )
  })

  test('that are broken end, and do not take long', () => {
    assert.deepEqual(parseChallenges(['', '"', '=,=', ',,,']), [])
    assert.deepEqual(parseChallenges(['Bearer realm="open']), [
      { scheme: 'bearer', parameters: { realm: '' } },
    ])
    assert.equal(parseChallenges(['a, '.repeat(100_000)]).length, 16)
    parseChallenges([`Bearer realm="${'\\'.repeat(1_000_000)}`])
  })
})

suite('scopes', () => {
  test('are merged by resource', () => {
    assert.deepEqual(
      mergeScopes([
        'repository:b:pull',
        'repository:a:push,pull',
        'repository:a:pull',
        'registry:catalog:*',
      ]),
      ['registry:catalog:*', 'repository:a:pull,push', 'repository:b:pull'],
    )
  })
})

suite('secrets', () => {
  test('that are known are taken out in every form, others by their shape', () => {
    const redactor = new Redactor()
    redactor.keep('p@ss w"rd')
    for (const text of ['p@ss w"rd', encodeURIComponent('p@ss w"rd'), 'p@ss w\\"rd']) {
      assert.equal(redactor.redact(`said ${text} twice`), 'said REDACTED twice')
    }
    assert.equal(redactor.redact('Authorization: Basic dXNlcjpw'), 'Authorization: Basic REDACTED')
    assert.equal(redactor.redact('{"token":"abc"}'), '{"token":"REDACTED"}')
    assert.equal(redactor.redact('https://me:pw@reg/x'), 'https://REDACTED@reg/x')
    assert.equal(redactor.redact('got eyJhbGciOiJI.eyJzdWIi.c2ln'), 'got REDACTED')
    const url = redactor.url(new URL('https://u:p@s3/x?X-Amz-Signature=abcd&ns=docker.io'))
    assert.equal(url, 'https://s3/x?X-Amz-Signature=REDACTED&ns=docker.io')
  })

  test('are not kept without end', () => {
    const redactor = new Redactor()
    for (let i = 0; i < 5000; i++) redactor.keep(`secret-${i}-`)
    assert.equal(redactor.redact('secret-4999-'), 'REDACTED')
    assert.equal(redactor.redact('secret-0-'), 'secret-0-')
  })
})

suite('waiting', () => {
  test('Retry-After is seconds or a date, and nobody waits too long', () => {
    assert.equal(retryAfterMs('3'), 3000)
    assert.equal(retryAfterMs('Thu, 01 Jan 1970 00:00:10 GMT', 4000), 6000)
    assert.equal(retryAfterMs('Thu, 01 Jan 1970 00:00:10 GMT', 40_000), 0)
    assert.equal(retryAfterMs('soon'), undefined)
    const options = { attempts: 5, firstWaitMs: 100, longestWaitMs: 1000 }
    assert.equal(waitBefore(1, { 'retry-after': '2' }, options), undefined)
    assert.equal(waitBefore(1, { 'retry-after': '1' }, options), 1000)
    const waits = [1, 2, 3, 9].map((attempt) => waitBefore(attempt, {}, options) ?? 0)
    for (const [i, most] of [100, 200, 400, 1000].entries()) {
      assert.ok((waits[i] ?? 0) >= most / 2 && (waits[i] ?? 0) <= most)
    }
  })
})

suite('proxies', () => {
  const env = { HTTPS_PROXY: 'http://p:1', http_proxy: 'q:2' }
  const of = (url: string, no = ''): string | undefined =>
    proxyFor(new URL(url), { ...env, NO_PROXY: no })

  test('are chosen by scheme, and never for this machine', () => {
    assert.equal(of('https://reg.example/'), 'http://p:1')
    assert.equal(of('http://reg.example/'), 'http://q:2')
    assert.equal(of('https://localhost:5000/'), undefined)
    assert.equal(of('http://[::1]:5000/'), undefined)
    assert.equal(proxyFor(new URL('https://reg.example/'), {}), undefined)
  })

  test('are left out for what NO_PROXY names', () => {
    const without: readonly (readonly [string, string])[] = [
      ['https://reg.example/', '*'],
      ['https://reg.example/', 'example'],
      ['https://reg.example/', ' other, reg.example:443'],
      ['https://reg.example/', '.example'],
      ['https://10.1.2.3/', '10.0.0.0/8'],
      ['https://10.1.2.3/', '10.1.2.3'],
      ['https://[fd00::1]/', 'fd00::/8'],
    ]
    for (const [url, no] of without) assert.equal(of(url, no), undefined, `${url} ${no}`)
    const through: readonly (readonly [string, string])[] = [
      ['https://example/', '.example'],
      ['https://badexample/', 'example'],
      ['https://reg.example/', 'reg.example:5000'],
      ['https://11.1.2.3/', '10.0.0.0/8'],
      ['https://reg.example/', '10.0.0.0/99,x/y'],
    ]
    for (const [url, no] of through) assert.equal(of(url, no), 'http://p:1', `${url} ${no}`)
  })
})
