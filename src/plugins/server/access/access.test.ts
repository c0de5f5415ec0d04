import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Images } from '#gen/services/images_pb.ts'
import { Introspection } from '#gen/services/introspection_pb.ts'
import { Snapshots } from '#gen/services/snapshots_pb.ts'

import { mutates } from './methods.ts'
import { parseRole } from './role.ts'

test('what runs a program or stores what it makes is no reading', () => {
  assert.ok(mutates(Introspection.method.pluginInfo))
  assert.ok(mutates(Snapshots.method.view))
  assert.ok(mutates(Images.method.delete))
  assert.ok(!mutates(Images.method.list))
})

test('a method that nobody has classified counts as one that changes something', () => {
  assert.ok(mutates({ ...Images.method.list, name: 'Inspect' }))
  assert.ok(mutates({ name: 'List', parent: { ...Images, typeName: 'new.v1.Service' } }))
})

test('a role says its rule as the configuration has it', () => {
  assert.equal(parseRole('read-only', 'role').rule, 'read-only')
  const role = parseRole({ namespaces: ['a', 'b'], services: ['images', 'Version'] }, 'role')
  assert.deepEqual(role.namespaces, ['a', 'b'])
  assert.deepEqual(role.services, [
    'containerd.services.images.v1.Images',
    'containerd.services.version.v1.Version',
  ])
  assert.match(role.rule, /^namespaces = \["a", "b"\], services = \["containerd\.services\.images/)
})

test('a mistake in a role is an error that names it, and never permits more', () => {
  for (const [role, message] of [
    [undefined, /must be "read-only" or a table/],
    ['readonly', /must be "read-only" or a table/],
    [{}, /must name namespaces, services or both/],
    [{ namespace: ['a'] }, /role\.namespace is not known/],
    [{ namespaces: [] }, /must be a list of names/],
    [{ namespaces: 'a' }, /must be a list of names/],
    [{ namespaces: ['a b'] }, /role\.namespaces: /],
    [{ services: ['imags'] }, /unknown service "imags"; is it "images"\?/],
  ] as const) {
    assert.throws(() => parseRole(role, 'role'), { code: 'invalid_argument', message })
  }
})
