import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { decodeTable, encodeTable, type Problem } from './decode.ts'
import { formatKey, parseKey } from './key.ts'
import { locateKeys } from './locate.ts'

const document = `# a comment with = and [brackets]
version = 2 # and another
title = "a # in a [string] = x"

[plugins."io.containerd.gc.v1.scheduler"]
  pause_threshold = 0.02
  text = """
line = 1
[not.a.table]"""
  after = 'it\\'

[plugins.'a.b'.c]
nested = { one = 1, two = { three = [1, 2], "fo.ur" = "}" } }
list = [
  "a", # one
  "]",
  { name = "x",
    value = "y" },
]
dotted.key."with.dots" = true
[[listeners]]
address = "a"
[[listeners]]
address = "b"
[listeners.role]
name = "r"
`

void suite('toml keys', () => {
  for (const [key, line] of [
    ['version', 2],
    ['title', 3],
    ['plugins', 5],
    ['plugins."io.containerd.gc.v1.scheduler"', 5],
    ['plugins."io.containerd.gc.v1.scheduler".pause_threshold', 6],
    ['plugins."io.containerd.gc.v1.scheduler".text', 7],
    ['plugins."io.containerd.gc.v1.scheduler".after', 10],
    ['plugins."a.b".c.nested.two.three', 13],
    ['plugins."a.b".c.nested.two."fo.ur"', 13],
    ['plugins."a.b".c.list', 14],
    ['plugins."a.b".c.list.2.value', 18],
    ['plugins."a.b".c.dotted.key."with.dots"', 20],
    ['listeners.0.address', 22],
    ['listeners.1.address', 24],
    ['listeners.1.role.name', 26],
    ['line', undefined],
    ['not.a.table', undefined],
  ] as const) {
    void test(`${key} is on line ${line}`, () => {
      assert.equal(locateKeys(document).lineOf(parseKey(key)), line)
    })
  }

  void test('a key comes back as it was written', () => {
    for (const key of ['a', 'a."b.c".d', 'a."".b', '"q\\"uote"']) {
      assert.equal(formatKey(parseKey(key)), key)
    }
    assert.deepEqual(parseKey(" a . 'b.c' "), ['a', 'b.c'])
    assert.throws(() => parseKey('a..b'), /is not a dotted key/)
    assert.throws(() => parseKey(''), /is not a dotted key/)
  })
})

void suite('toml sections', () => {
  const defaults = {
    path: '',
    maxSize: 10,
    part: 0.5,
    on: false,
    delay: '10s',
    names: [] as readonly string[],
    tls: { caFile: '' },
  }
  const decode = (table: Record<string, unknown>) => {
    const problems: Problem[] = []
    return { value: decodeTable(defaults, table, ['s'], problems), unknown: problems }
  }

  void test('it is the defaults with what the file sets', () => {
    const { value, unknown } = decode({ max_size: 3, delay: '1m', tls: { ca_file: 'x' } })
    assert.deepEqual(value, { ...defaults, maxSize: 3, delay: '1m', tls: { caFile: 'x' } })
    assert.deepEqual(unknown, [])
    assert.deepEqual(decode(encodeTable(value)).value, value)
  })

  void test('an unknown key is named with the nearest known one', () => {
    const { unknown } = decode({ max_sise: 3, tls: { cafile: '' }, zzzzzzzz: 1 })
    assert.deepEqual(unknown, [
      { path: ['s', 'max_sise'], nearest: 'max_size' },
      { path: ['s', 'tls', 'cafile'], nearest: 'ca_file' },
      { path: ['s', 'zzzzzzzz'], nearest: undefined },
    ])
  })

  for (const [table, message] of [
    [{ path: 1 }, 's.path must be a string, not a number'],
    [{ max_size: 'x' }, 's.max_size must be a number, not a string'],
    [{ max_size: 1.5 }, 's.max_size must be a whole number, not 1.5'],
    [{ on: 1 }, 's.on must be true or false, not a number'],
    [{ tls: [] }, 's.tls must be a table, not a list'],
    [{ path: new Date() }, 's.path must be a string, not a date'],
    [{ names: ['a', 1] }, 's.names must hold a string each, not a number'],
    [{ delay: '10 seconds' }, 's.delay unable to parse 10 seconds into a time duration'],
  ] as const) {
    void test(`${JSON.stringify(table)} is refused, and the default stays`, () => {
      const { value, unknown } = decode(table)
      const [problem] = unknown
      assert.equal(`${formatKey(problem?.path ?? [])} ${problem?.reason}`, message)
      assert.deepEqual(value, defaults)
    })
  }

  void test('a part may be a whole number, and a duration zero', () => {
    assert.equal(decode({ part: 1, delay: '0' }).value.part, 1)
  })
})
