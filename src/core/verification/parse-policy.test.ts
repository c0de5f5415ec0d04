import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { codeOf } from '#lib/errors/errors.ts'

import { parsePolicy } from './parse-policy.ts'
import { ruleFor } from './rule.ts'

const parse = (...rules: readonly unknown[]) => parsePolicy({ default: 'deny', rules })
const images = ['docker.io/library/*']

suite('image policies', () => {
  test('a rule is read with its defaults', () => {
    const { byDefault, rules } = parse(
      { images, type: 'cosign', keys: ['/a.pub'] },
      {
        name: 'ours',
        images: ['reg.example/**'],
        type: 'notation',
        certificates: ['/ca.pem'],
        identities: ['*'],
      },
      { images: ['**'], type: 'allow' },
    )
    assert.equal(byDefault, 'deny')
    assert.deepEqual(
      rules.map(({ name, trust }) => ({ name, trust })),
      [
        { name: '1', trust: { type: 'cosign', keys: ['/a.pub'], identity: 'repository' } },
        { name: 'ours', trust: { type: 'notation', certificates: ['/ca.pem'], identities: 'any' } },
        { name: '3', trust: { type: 'allow' } },
      ],
    )
  })

  test('the first rule that matches decides', () => {
    const policy = parse(
      { images: ['docker.io/library/alpine'], type: 'deny' },
      { images, type: 'allow' },
    )
    assert.equal(ruleFor(policy, 'docker.io/library/alpine')?.name, '1')
    assert.equal(ruleFor(policy, 'docker.io/library/busybox')?.name, '2')
    assert.equal(ruleFor(policy, 'docker.io/team/app'), undefined)
  })

  test('identities are parts of a name', () => {
    const identities = ['C=US, ST=WA,O=acme', String.raw`x509.subject: S=WA, O=acme\, inc, CN=a=b`]
    const { rules } = parse({ images, type: 'notation', certificates: ['/ca.pem'], identities })
    const [rule] = rules
    assert.ok(rule?.trust.type === 'notation')
    assert.deepEqual(rule.trust.identities, [
      [
        ['C', 'US'],
        ['ST', 'WA'],
        ['O', 'acme'],
      ],
      [
        ['ST', 'WA'],
        ['O', 'acme, inc'],
        ['CN', 'a=b'],
      ],
    ])
  })

  const cosign = { images, type: 'cosign', keys: ['/a.pub'] }
  const notation = { images, type: 'notation', certificates: ['/a'], identities: ['*'] }
  for (const [rule, why] of [
    [{}, /rule "1": type = nothing is none of/],
    ['x', /rule "1": type = nothing is none of/],
    [{ ...cosign, type: 'Cosign' }, /type = "Cosign" is none of/],
    [{ ...cosign, name: 'n', images: [] }, /rule "n": it has no images/],
    [{ ...cosign, images: 'docker.io/**' }, /"images" must be a list, not a string/],
    [{ ...cosign, images: ['alpine'] }, /image pattern "alpine"/],
    [{ ...cosign, keys: [] }, /it has no keys, so nothing could be good enough/],
    [{ ...cosign, keys: undefined }, /"keys" must be a list/],
    [{ ...cosign, keys: [7] }, /"keys" must hold a string each/],
    [{ ...cosign, keys: ['a.pub'] }, /"a.pub" in keys is not an absolute path/],
    [{ ...cosign, key: ['/a.pub'] }, /key "key" is not known for its type; is it "keys"\?/],
    [{ ...cosign, certificates: ['/a'] }, /key "certificates" is not known for its type/],
    [{ ...cosign, identity: 'none' }, /identity = "none" is neither/],
    [{ ...cosign, identity: 'a//b' }, /identity = "a\/\/b" is neither/],
    [{ ...notation, certificates: [] }, /it has no certificates/],
    [{ ...notation, identities: [] }, /it has no identities/],
    [{ ...notation, identities: ['acme'] }, /identity "acme" is not like/],
    [{ images, type: 'allow', keys: ['/a'] }, /key "keys" is not known for its type/],
  ] as const) {
    test(`${JSON.stringify(rule)} is refused`, () => {
      assert.throws(
        () => parse(rule),
        (err: Error) => codeOf(err) === 'invalid_argument' && why.test(err.message),
      )
    })
  }

  test('the default is to allow or to deny', () => {
    assert.throws(() => parsePolicy({ default: 'warn', rules: [] }), /neither "allow" nor "deny"/)
  })
})
