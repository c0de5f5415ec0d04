import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { codeOf } from '#lib/errors/errors.ts'

import { formatEntry, isJsonFileUri, parseEntry, parseJsonFileUri } from './json-file.ts'

void suite('the log driver json-file', () => {
  void test('a URI says where, how large, and how many', () => {
    const mb = 1_000_000
    assert.deepEqual(parseJsonFileUri('json-file:///var/log/x.log?max-size=10m&max-file=5'), {
      path: '/var/log/x.log',
      maxSize: 10 * mb,
      maxFile: 5,
    })
    assert.deepEqual(parseJsonFileUri('json-file:///a%20b'), {
      path: '/a b',
      maxSize: 100 * mb,
      maxFile: 3,
    })
    const sizes = ['4096', '1.5k', '10M', '2g', '1GB', '-1']
    assert.deepEqual(
      sizes.map((size) => parseJsonFileUri(`json-file:///x?max-size=${size}`).maxSize),
      [4096, 1500, 10 * mb, 2000 * mb, 1000 * mb, -1],
    )
    assert.deepEqual(['json-file:///x', 'file:///x', '/x'].map(isJsonFileUri), [true, false, false])
  })

  void test('a URI that says anything else is refused', () => {
    const bad = [
      'json-file://',
      'json-file:x',
      'json-file:///',
      'json-file://host/x',
      'json-file:///a%zz',
    ]
    const queries = ['max-size=0', 'max-size=ten', 'max-size=', 'max-file=0', 'max-file=1.5']
    const more = ['max-file=100000', 'compress=true', 'maxsize=1m']
    for (const uri of [
      ...bad,
      ...[...queries, ...more].map((query) => `json-file:///x?${query}`),
    ]) {
      assert.throws(
        () => parseJsonFileUri(uri),
        (err) => codeOf(err) === 'invalid_argument',
        uri,
      )
    }
  })

  void test('an entry is a line that Docker would have written', () => {
    const time = '2026-11-26T17:33:54.608611084Z'
    const entry = { log: 'say "ä"\t\n', stream: 'stderr', time } as const
    const line = formatEntry(entry)
    assert.equal(line, `{"log":"say \\"ä\\"\\t\\n","stream":"stderr","time":"${time}"}\n`)
    assert.deepEqual(parseEntry(line), entry)
    // Docker adds attributes.
    assert.deepEqual(parseEntry(line.replace('}', ',"attrs":{"tag":"x"}}')), entry)
  })

  void test('half an entry is none', () => {
    const none = ['', '{"log":"x', '{}', '[]', 'null', '{"log":1,"stream":"stdout","time":""}']
    for (const line of [...none, '{"log":"x","stream":"stdin","time":""}']) {
      assert.equal(parseEntry(line), undefined, line)
    }
  })
})
