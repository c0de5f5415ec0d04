import assert from 'node:assert/strict'
import { test } from 'node:test'

import { create } from '@bufbuild/protobuf'
import { TimestampSchema } from '@bufbuild/protobuf/wkt'

import { ContainerCreateSchema, ContainerDeleteSchema } from '#gen/events/container_pb.ts'
import { Kind, InfoSchema as SnapshotInfoSchema } from '#gen/services/snapshots_pb.ts'
import { MountSchema } from '#gen/types/mount_pb.ts'
import { ProcessSchema } from '#gen/types/task_pb.ts'
import { codeOf } from '#lib/errors/errors.ts'

import { blocks } from './blocks.ts'
import { descriptorFromProto } from './descriptor.ts'
import { mountsFromProto, mountsToProto } from './mount.ts'
import { holds, pack, unpack } from './pack.ts'
import { processFromProto, processToProto } from './process.ts'
import { snapshotFromProto } from './snapshot.ts'
import { dateFromProto, dateToProto, timestampFromProto, timestampToProto } from './timestamp.ts'

test('a time keeps its nanoseconds, and "never" is the zero time of Go', () => {
  const exact = { seconds: 1_700_000_000n, nanos: 123_456_789 }
  assert.deepEqual(timestampFromProto(create(TimestampSchema, timestampToProto(exact))), exact)
  const never = create(TimestampSchema, timestampToProto(undefined))
  assert.equal(new Date(Number(never.seconds) * 1000).toISOString(), '0001-01-01T00:00:00.000Z')
  assert.equal(timestampFromProto(never), undefined)
  assert.equal(timestampFromProto(undefined), undefined)
})

test('a date keeps its milliseconds, also before 1970', () => {
  for (const text of ['2026-01-02T03:04:05.678Z', '1969-12-31T23:59:59.999Z']) {
    const date = new Date(text)
    assert.deepEqual(dateFromProto(create(TimestampSchema, dateToProto(date))), date)
  }
  assert.deepEqual(dateFromProto(undefined), new Date(0))
  const far = create(TimestampSchema, { seconds: 2n ** 62n })
  assert.throws(
    () => dateFromProto(far),
    (err) => codeOf(err) === 'invalid_argument',
  )
})

test('a packed message is known by its bare type, with or without a host before it', () => {
  const any = pack(ContainerDeleteSchema, { id: 'one' })
  assert.equal(any.typeUrl, 'containerd.events.ContainerDelete')
  assert.equal(unpack(ContainerDeleteSchema, any).id, 'one')
  assert.ok(holds(any, ContainerDeleteSchema))
  assert.ok(holds({ ...any, typeUrl: `type.googleapis.com/${any.typeUrl}` }, ContainerDeleteSchema))
  assert.ok(!holds(any, ContainerCreateSchema))
  const damaged = { ...any, value: Uint8Array.of(0xff) }
  assert.throws(
    () => unpack(ContainerDeleteSchema, damaged),
    (err) => codeOf(err) === 'invalid_argument',
  )
})

test('mounts come back as they went, and an empty target is none', () => {
  const mounts = [
    { type: 'overlay', source: 'overlay', options: ['lowerdir=/a', 'ro'] },
    { type: 'bind', source: '/x', target: 'y', options: [] },
  ]
  const messages = mountsToProto(mounts).map((mount) => create(MountSchema, mount))
  assert.deepEqual(mountsFromProto(messages), mounts)
})

test('what is missing in a message is empty, not undefined', () => {
  assert.deepEqual(descriptorFromProto(undefined), { mediaType: '', digest: '', size: 0 })
  const snapshot = snapshotFromProto(create(SnapshotInfoSchema, { kind: Kind.UNKNOWN }))
  assert.deepEqual([snapshot.kind, snapshot.name, snapshot.labels], ['active', '', {}])
})

test('a process is named by its exec, or by its container', () => {
  const state = {
    containerId: 'c',
    execId: 'e',
    bundle: '',
    pid: 1,
    status: 'paused' as const,
    stdin: '',
    stdout: '',
    stderr: '',
    terminal: false,
    exitStatus: 137,
    exitedAt: { seconds: 5n, nanos: 6 },
  }
  for (const given of [state, { ...state, execId: '' }]) {
    const message = create(ProcessSchema, processToProto(given))
    assert.deepEqual(processFromProto(message, 'c'), given)
  }
  assert.equal(processFromProto(undefined, 'c').status, 'unknown')
})

test('blocks are full but for the last, and there is none of nothing', async () => {
  const count = async (length: number) => {
    const items = (async function* () {
      for (let i = 0; i < length; i++) yield await Promise.resolve(i)
    })()
    return await Array.fromAsync(blocks(items), (block) => block.length)
  }
  assert.deepEqual(await count(0), [])
  assert.deepEqual(await count(99), [99])
  assert.deepEqual(await count(100), [100])
  assert.deepEqual(await count(250), [100, 100, 50])
})
