import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { create, toBinary } from '@bufbuild/protobuf'

import { jsonTypes } from '#core/any/any.ts'
import { RuntimeInfoSchema } from '#gen/types/introspection_pb.ts'

import { requireIdMappedMounts, usesIdMappedMounts } from './features.ts'

const specOf = (value: object) => ({
  typeUrl: jsonTypes.spec,
  value: Buffer.from(JSON.stringify(value)),
})

function infoOf(features?: object) {
  const typeUrl = 'types.containerd.io/opencontainers/runtime-spec/1/features/Features'
  const value = Buffer.from(JSON.stringify(features ?? {}))
  const info = create(RuntimeInfoSchema, features ? { features: { typeUrl, value } } : {})
  return { typeUrl: RuntimeInfoSchema.typeName, value: toBinary(RuntimeInfoSchema, info) }
}

suite('id-mapped mounts', () => {
  void test('are seen in the mounts of a spec and nowhere else', () => {
    const map = [{ containerID: 0, hostID: 1, size: 1 }]
    assert.ok(usesIdMappedMounts(specOf({ mounts: [{ uidMappings: map }] })))
    assert.ok(usesIdMappedMounts(specOf({ mounts: [{ options: ['ro', 'ridmap'] }] })))
    assert.ok(!usesIdMappedMounts(specOf({ linux: { uidMappings: map }, mounts: [{}] })))
    assert.ok(!usesIdMappedMounts(specOf({ process: { args: ['idmap'] } })))
  })

  void test('need a runtime that says it has them', () => {
    requireIdMappedMounts(infoOf({ linux: { mountExtensions: { idmap: { enabled: true } } } }))
    requireIdMappedMounts(infoOf())
    assert.throws(() => requireIdMappedMounts(infoOf({ linux: {} })), /missing `mountExtensions/)
    const disabled = infoOf({ linux: { mountExtensions: { idmap: { enabled: false } } } })
    assert.throws(() => requireIdMappedMounts(disabled), /not present or disabled/)
  })
})
