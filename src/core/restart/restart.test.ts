import assert from 'node:assert/strict'
import { test } from 'node:test'

import { parsePolicy, restartLabels, wantsRestart } from './restart.ts'

test('policies are read as containerd reads them', () => {
  assert.deepEqual(parsePolicy(''), { name: 'always', maxRetries: 0 })
  assert.deepEqual(parsePolicy('no'), { name: 'no', maxRetries: 0 })
  assert.deepEqual(parsePolicy('unless-stopped'), { name: 'unless-stopped', maxRetries: 0 })
  assert.deepEqual(parsePolicy('on-failure'), { name: 'on-failure', maxRetries: 0 })
  assert.deepEqual(parsePolicy('on-failure:3'), { name: 'on-failure', maxRetries: 3 })
  for (const [text, message] of [
    ['sometimes', 'restart policy "sometimes" not supported'],
    ['always:3', 'restart policy "always" not support max retry count'],
    ['on-failure:', 'invalid max retry count: '],
    ['on-failure:many', 'invalid max retry count: many'],
  ] as const) {
    assert.throws(() => parsePolicy(text), { message: `${message}: invalid argument` })
  }
})

/** `policy` with an exit status, and what else there is: whether it is started again. */
const cases: readonly (readonly [string, number, Readonly<Record<string, string>>, boolean])[] = [
  ['', 0, {}, true],
  ['always', 1, { explicitlyStopped: 'true' }, true],
  ['no', 1, {}, false],
  ['on-failure', 0, {}, false],
  ['on-failure', 137, { count: '1000' }, true],
  ['on-failure:2', 1, {}, true],
  ['on-failure:2', 1, { count: '1' }, true],
  ['on-failure:2', 1, { count: '2' }, false],
  ['unless-stopped', 0, {}, true],
  ['unless-stopped', 0, { explicitlyStopped: 'false' }, true],
  ['unless-stopped', 1, { explicitlyStopped: 'true' }, false],
  ['unless-stopped', 1, { explicitlyStopped: 'T' }, false],
  ['unless-stopped', 1, { explicitlyStopped: 'yes' }, true],
]

for (const [policy, status, others, wanted] of cases) {
  test(`${policy || 'no policy'}, exit ${status}, ${JSON.stringify(others)}: ${wanted}`, () => {
    const { policy: key, count, explicitlyStopped } = restartLabels
    const labels = {
      [key]: policy,
      ...('count' in others && { [count]: others['count'] ?? '' }),
      ...('explicitlyStopped' in others && {
        [explicitlyStopped]: others['explicitlyStopped'] ?? '',
      }),
    }
    assert.equal(wantsRestart(labels, status), wanted)
  })
}

test('a count that is none is told', () => {
  const labels = { [restartLabels.policy]: 'on-failure:2', [restartLabels.count]: 'x' }
  assert.throws(() => wantsRestart(labels, 1), /restart\.count: "x" is no number/)
})
