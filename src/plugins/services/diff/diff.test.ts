import assert from 'node:assert/strict'
import { test } from 'node:test'

import type { ApplyOptions, CompareOptions, Differ } from '#core/diff/diff.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Mount } from '#core/mount/mount.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { failedPrecondition, unimplemented } from '#lib/errors/errors.ts'
import { RemoteDiffer } from '#proxy/diff.ts'
import { newContext } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { diffApi } from './grpc.ts'
import { OrderedDiffer } from './service.ts'

const layer: Descriptor = {
  mediaType: 'application/vnd.oci.image.layer.v1.tar',
  digest: digestOf('layer'),
  size: 5,
  annotations: { k: 'v' },
}
const mounts: Mount[] = [{ type: 'bind', source: '/a', target: 'b', options: ['rw', 'rbind'] }]

/** A differ that answers the same to everything, and keeps what it was asked. */
function answering(answer: Descriptor | Error, asked: unknown[] = []): Differ {
  const reply = async (...args: unknown[]): Promise<Descriptor> => {
    asked.push(args)
    await Promise.resolve()
    if (answer instanceof Error) throw answer
    return answer
  }
  return {
    apply: (_ctx, given, onto, options?: ApplyOptions) => reply(given, onto, options),
    compare: (_ctx, lower, upper, options?: CompareOptions) => reply(lower, upper, options),
  }
}

test('a layer and its mounts arrive as they were sent', async (t) => {
  const ctx = newContext(t)
  const asked: unknown[] = []
  await using served = await serve(ctx, [diffApi(answering(layer, asked))])
  const remote = new RemoteDiffer(served.connection)
  const payloads = { decoder: { typeUrl: 'x.Y', value: Buffer.of(1) } }
  assert.deepEqual(await remote.apply(ctx, layer, mounts, { payloads }), layer)
  assert.deepEqual(asked, [[layer, mounts, { payloads }]])
})

test('a comparison arrives with what it asks for', async (t) => {
  const ctx = newContext(t)
  const asked: unknown[] = []
  await using served = await serve(ctx, [diffApi(answering(layer, asked))])
  const options = {
    mediaType: 'text/plain',
    ref: 'up',
    labels: { a: 'b' },
    sourceDateEpoch: new Date('2001-02-03T04:05:06.789Z'),
  }
  await new RemoteDiffer(served.connection).compare(ctx, mounts, [], options)
  assert.deepEqual(asked, [[mounts, [], options]])
})

test('differs are asked in order until one knows the type', async (t) => {
  const ctx = newContext(t)
  const ignorant = answering(unimplemented('not mine'))
  const never: unknown[] = []
  const ordered = new OrderedDiffer([ignorant, answering(layer), answering(layer, never)])
  assert.deepEqual(await ordered.apply(ctx, layer, mounts), layer)
  assert.deepEqual(never, [])
})

test('a differ that fails is the answer, and so is the last that does not know', async (t) => {
  const ctx = newContext(t)
  const broken = answering(failedPrecondition('broken'))
  const ignorant = answering(unimplemented('not mine'))
  await rejectsWith(
    'failed_precondition',
    new OrderedDiffer([ignorant, broken, answering(layer)]).apply(ctx, layer, mounts),
  )
  await rejectsWith(
    'unimplemented',
    new OrderedDiffer([ignorant]).compare(ctx, [], []),
    'not mine: not implemented',
  )
  await rejectsWith('unimplemented', new OrderedDiffer([]).compare(ctx, [], []))
})
