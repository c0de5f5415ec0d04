import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import type { ActiveMount } from '#core/mount/manager.ts'
import { codeOf, describe } from '#lib/errors/errors.ts'

import { format } from './template.ts'

const active: readonly ActiveMount[] = [0, 1, 2].map((at) => ({
  type: 't',
  source: `/s${at}`,
  ...(at === 1 && { target: 'inner' }),
  options: [],
  mountedAt: new Date(0),
  mountPoint: `/m${at}`,
}))

void suite('templates of mounts', () => {
  void test('name earlier mounts', () => {
    for (const [text, expected] of [
      ['plain', 'plain'],
      ['}} {', '}} {'],
      ['{{ mount 0 }}/upper', '/m0/upper'],
      ['{{mount 2}}', '/m2'],
      ['a={{ source 1 }},b={{ target 1 }},c={{ target 0 }}', 'a=/s1,b=inner,c='],
      ['lowerdir={{ overlay 0 2 }}', 'lowerdir=/m0:/m1:/m2'],
      ['{{ overlay 2 1 }}', '/m2:/m1'],
      ['{{ overlay 1 1 }}', '/m1'],
      ['x  {{- mount +0 -}}  y', 'x/m0y'],
      ['{{/* nothing */}}z', 'z'],
      ['{{\tmount\n0 }}', '/m0'],
    ] as const) {
      assert.equal(format(text, active), expected, text)
    }
  })

  void test('are refused with a reason', () => {
    for (const [text, reason] of [
      ['{{ mount 3 }}', 'index out of bounds: 3, has 3 active mounts'],
      ['{{ mount -1 }}', 'index out of bounds: -1, has 3 active mounts'],
      ['{{ overlay 0 3 }}', 'invalid range: 0-3, has 3 active mounts'],
      ['{{ overlay 3 0 }}', 'invalid range: 3-0, has 3 active mounts'],
      ['{{ overlay 0 -1 }}', 'invalid range: 0--1, has 3 active mounts'],
      ['{{ mount 0', 'unclosed action'],
      ['{{ env "HOME" }}', 'function "env" not defined'],
      ['{{ }}', 'function "" not defined'],
      ['{{ mount }}', 'wrong number of args for mount: want 1 got 0'],
      ['{{ overlay 1 }}', 'wrong number of args for overlay: want 2 got 1'],
      ['{{ mount x }}', '"x" is not the number of a mount'],
      ['{{ mount 0 | print }}', 'wrong number of args for mount: want 1 got 3'],
    ] as const) {
      assert.throws(
        () => format(text, active),
        (err) => {
          assert.equal(codeOf(err), 'invalid_argument')
          assert.ok(describe(err).includes(reason), describe(err))
          return true
        },
        text,
      )
    }
  })
})
