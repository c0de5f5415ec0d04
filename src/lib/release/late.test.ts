import assert from 'node:assert/strict'
import { globSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import { packageRoot } from '#lib/release/release.ts'

import { late, lateService } from './late.ts'

/** Every descriptor that the generated modules export. */
async function descriptors(): Promise<object[]> {
  const files = globSync('src/gen/**/*_pb.ts', { cwd: packageRoot })
  const modules: object[] = await Promise.all(
    files.map(async (file): Promise<object> => await import(join(packageRoot, file))),
  )
  const values = modules.flatMap((module) => Object.values<unknown>({ ...module }))
  return values.filter(
    (value): value is object => typeof value === 'object' && value !== null && 'kind' in value,
  )
}

test('a late descriptor has everything the descriptor has, whatever is asked for first', async () => {
  const all = await descriptors()
  assert.ok(all.length > 100)
  for (const descriptor of all) {
    for (const [key, value] of Object.entries(descriptor)) {
      const stand = late(() => descriptor, [])
      assert.deepEqual(Object.keys(stand), [])
      assert.equal(Reflect.get(stand, key), value, key)
      assert.equal(Object.getPrototypeOf(stand), Object.getPrototypeOf(descriptor))
      assert.deepEqual(Object.keys(stand), Object.keys(descriptor))
    }
  }
})

test('a descriptor is made once, from what the module gave', () => {
  let made = 0
  const make = (...args: readonly unknown[]): object => ({
    kind: 'enum',
    value: args,
    made: ++made,
  })
  const stand = late(make, ['file', 3])
  assert.equal(made, 0)
  assert.deepEqual(Reflect.get(stand, 'value'), ['file', 3])
  assert.equal(Reflect.get(stand, 'kind'), 'enum')
  assert.equal(made, 1)
})

test('a service is not made for its name', () => {
  let made = 0
  const make = (...args: readonly unknown[]): object => ({ methods: args, made: ++made })
  const stand = lateService(make, ['file', 0, 'a.b.Service'])
  assert.equal(Reflect.get(stand, 'typeName'), 'a.b.Service')
  assert.equal(made, 0)
  assert.deepEqual(Reflect.get(stand, 'methods'), ['file', 0])
})
