import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import * as fc from 'fast-check'

import { codeOf } from '#lib/errors/errors.ts'

import { parseFilters } from './filters.ts'

interface Item {
  readonly name?: string
  readonly other?: string
  readonly labels?: Readonly<Record<string, string>>
}

const items: readonly Item[] = [
  { name: 'one', labels: { a: 'true' } },
  { name: 'two' },
  { name: 'one', labels: { a: 'yes', 'with spaces': 'yes' } },
  { name: 'three', labels: { 'a "quote" and \\': 'yes', 'io.x/y': '1' } },
  { other: 'x, and y' },
  { name: '牛', other: 'tab\there' },
]

function matching(...texts: string[]): number[] {
  const filter = parseFilters(texts)
  return items.flatMap((item, index) => {
    const adapt = ([field, ...rest]: readonly string[]): string | undefined => {
      if (field === 'labels') return item.labels?.[rest.join('.')]
      return field === 'name' || field === 'other' ? item[field] : undefined
    }
    return filter(adapt) ? [index] : []
  })
}

const all = [0, 1, 2, 3, 4, 5]

suite('filters', () => {
  test('no filter, and an empty one, match everything', () => {
    assert.deepEqual(matching(), all)
    assert.deepEqual(matching(''), all)
    assert.deepEqual(matching('name==nobody', ''), all)
  })

  for (const [text, expected] of [
    ['name', [0, 1, 2, 3, 5]],
    ['nothing', []],
    ['labels.a', [0, 2]],
    ['labels.a,name', [0, 2]],
    ['labels.a==true', [0]],
    ['labels.a==', 'expected value or quoted'],
    ['name==one,labels.a!=true', [2]],
    ['name!=one', [1, 3, 4, 5]],
    ['labels.a!=true', [1, 2, 3, 4, 5]],
    ['name == one', [0, 2]],
    ['name==牛', [5]],
    ['name=="\\u725b"', [5]],
    ['name=="\\xe7\\x89\\x9b"', [5]],
    ['name=="\\351"', []],
    ['other=="tab\\there"', [5]],
    ['other=="x, and y"', [4]],
    ['"name"==two', [1]],
    ['labels."with spaces"', [2]],
    ['labels."a \\"quote\\" and \\\\"==yes', [3]],
    ['labels."io.x/y"==1', [3]],
    ['name~=^t', [1, 3]],
    ['name~=/^t.{2}$/', [1]],
    ['name~=|e$|,labels.a', [0, 2]],
    ['other~=.', 'expected value or quoted'],
    ['other~=/./', [4, 5]],
    ['labels.none~=^$', all],
    ['name~=/(/', []],
    ['name~="*"', []],
    ['labels.none~="a{1001}"', []],
  ] as const) {
    test(`${text} gives ${String(expected)}`, () => {
      if (typeof expected === 'string')
        assert.throws(() => matching(text), { message: RegExp(expected) })
      else assert.deepEqual(matching(text), expected)
    })
  }

  test('several filters match what any of them matches', () => {
    assert.deepEqual(matching('name==two', 'labels.a==yes'), [1, 2])
  })

  for (const [text, shown] of [
    ['name==one,', '[name==one,]: expected field or quoted'],
    ['labels.', '[labels.]: expected field or quoted'],
    ['name=', '[name >|=|< ]: unsupported operator "="'],
    ['name==', '[name==]: expected value or quoted'],
    ['image~=,id?=?x', '[image~= >|,|< id?=?x]: expected value or quoted'],
    ['labels.?x==y', '[labels. >|?|< x==y]: expected field or quoted'],
    ['labels.|a|==b', '[labels. >|||< a|==b]: invalid quote encountered'],
    ['name==/one/', '[name== >|/|< one/]: invalid quote encountered'],
    ['labels.ns/key==v', '[labels.ns >|/|< key==v]: quoted literal not terminated'],
    ['labels."\\g"', '[labels. >|"|< \\g"]: illegal escape sequence'],
    ['labels."\\xaz"', '[labels. >|"|< \\xaz"]: illegal numeric escape sequence'],
    ['name=="\\777"', '[name== >|"|< \\777"]: unquoting failed: quote syntax error'],
    ['name one', '[name  >|o|< ne]: expected an operator ("=="|"!="|"~=")'],
    ['name==one two', '[name==one >| |< two]: unexpected input:  '],
    ['name\0', '[name >|\0|< ]: unexpected null'],
  ] as const) {
    test(`${JSON.stringify(text)} is refused, showing where`, () => {
      assert.throws(
        () => parseFilters([text]),
        (err: Error) =>
          codeOf(err) === 'invalid_argument' &&
          err.message === `filters: parse error: ${shown}: invalid argument`,
        shown,
      )
    })
  }

  test('any text is a filter or is refused as none', () => {
    const piece = fc.constantFrom(
      ...'ab".,=!~/|\\ x'.split(''),
      '==',
      '~=',
      '"c d"',
      '\\x41',
      '(',
      '[',
      '\0',
      '牛',
    )
    const text = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: piece, maxLength: 12 }))
    const property = fc.property(text, (filter) => {
      try {
        const matches = parseFilters([filter])
        assert.equal(typeof matches(() => 'some text'), 'boolean')
      } catch (err) {
        assert.equal(codeOf(err), 'invalid_argument', String(err))
      }
    })
    fc.assert(property, { numRuns: 3000 })
  })
})
