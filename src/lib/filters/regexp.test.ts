import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import * as fc from 'fast-check'

import { compileRegexp } from './regexp.ts'

suite('regexp', () => {
  for (const [source, yes, no] of [
    ['', ['', 'x'], []],
    ['a|b|', ['', 'a'], []],
    ['^(a|bc)+$', ['a', 'abca'], ['', 'ab']],
    ['^a{2,3}$', ['aa', 'aaa'], ['a', 'aaaa']],
    ['^a{2,}?$', ['aa', 'aaaaa'], ['a']],
    ['^a{,2}$', ['a{,2}'], ['aa']],
    ['a{', ['a{'], ['a']],
    ['^.$', ['\r', '😀'], ['\n', '']],
    ['(?s)^.$', ['\n'], []],
    ['(?i)STRASSE', ['Strasse'], ['straße']],
    ['(?i:A)b', ['ab'], ['aB']],
    ['(?i)a(?-i)b', ['Ab'], ['AB']],
    ['(a(?i)b)c', ['aBc'], ['abC']],
    ['^b', ['b'], ['a\nb']],
    ['(?m)^b$', ['a\nb\nc'], ['ab\n']],
    ['a$', ['a'], ['a\n']],
    ['\\Aa\\z', ['a'], ['a\n']],
    ['\\bfoo\\b', ['a foo.'], ['food']],
    ['o\\B', ['od'], ['o']],
    ['^\\d\\D\\w\\W\\s\\S$', ['1a_- x'], ['aa_- x', '1a_-\vx']],
    ['^[\\d-]+$', ['1-2'], ['a']],
    ['^[]a]+$', [']a'], ['b']],
    ['^[^]a]$', ['b'], [']', 'a']],
    ['^[a-c^]$', ['b', '^'], ['d']],
    ['^[[:alpha:][:digit:]]+$', ['a1'], ['-']],
    ['^[[:^alpha:]]$', ['1'], ['a']],
    ['^\\p{Greek}\\pL\\PN$', ['αa-'], ['aa-', 'αa1']],
    ['^\\p{^Lu}$', ['a'], ['A']],
    ['(?P<name>a)(?<other>b)(?:c)', ['abc'], ['ab']],
    ['^\\Qa.b*\\E+$', ['a.b*', 'a.b**'], ['axb*']],
    ['^\\x41\\x{1F600}\\101\\n\\.$', ['A😀A\n.'], []],
    ['(?U)^a+$', ['aaa'], []],
    ['^*a', ['a'], ['b']],
    ['^[abc]{0,1}"/', ['a"/'], ['a']],
  ] as const) {
    test(source || 'the empty pattern', () => {
      const matches = compileRegexp(source)
      for (const text of yes) assert.ok(matches(text), `matches ${JSON.stringify(text)}`)
      for (const text of no) assert.ok(!matches(text), `does not match ${JSON.stringify(text)}`)
    })
  }

  for (const [source, message] of [
    ['*a', 'missing argument to repetition operator: `*`'],
    ['a**', 'invalid nested repetition operator: `**`'],
    ['(a', 'missing closing ): `(a`'],
    ['a)', 'unexpected ): `a)`'],
    ['[a', 'missing closing ]: `[a`'],
    ['[b-a]', 'invalid character class range: `b-a`'],
    ['\\', 'trailing backslash at end of expression: ``'],
    ['\\8', 'invalid escape sequence: `\\8`'],
    ['\\1', 'invalid escape sequence: `\\1`'],
    ['(?=a)', 'invalid or unsupported Perl syntax: `(?=a`'],
    ['a{1001}', 'invalid repeat count: `{1001}`'],
    ['(a{100}){100}', 'invalid repeat count: `{100}`'],
    ['\\p{Nothing}', 'invalid character class range: `\\p{Nothing}`'],
  ] as const) {
    test(`${source} is refused`, () => {
      assert.throws(() => compileRegexp(source), { message: `error parsing regexp: ${message}` })
    })
  }

  test('a pattern that makes others backtrack ends', () => {
    assert.ok(!compileRegexp('^(a|a?)+$')(`${'a'.repeat(2000)}b`))
  })

  test('it agrees with JavaScript where the syntaxes are the same', () => {
    const atom = fc.constantFrom('a', 'b', '[ab]', '[^a]', '(a|b)', '(?:ab|a)', '(?:^b)', '(?:\\b)')
    const part = fc
      .tuple(atom, fc.constantFrom('', '*', '+', '?', '{2}', '{0,2}'))
      .map((pair) => pair.join(''))
    const source = fc.array(part, { maxLength: 5 }).map((parts) => parts.join(''))
    const text = fc.string({ unit: fc.constantFrom('a', 'b', ' '), maxLength: 8 })
    const property = fc.property(source, text, (pattern, input) => {
      assert.equal(compileRegexp(pattern)(input), RegExp(pattern).test(input))
    })
    fc.assert(property, { numRuns: 2000 })
  })
})
