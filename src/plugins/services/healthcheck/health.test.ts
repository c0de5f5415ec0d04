import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Health, HealthCheckResponse_ServingStatus as Serving } from '#gen/grpc/health_pb.ts'
import { newContext } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { healthApi } from './grpc.ts'

test('the daemon serves, and knows of nothing else', async (t) => {
  await using served = await serve(newContext(t), [healthApi()])
  const health = served.connection.client(Health)
  assert.equal((await health.check({})).status, Serving.SERVING)
  await rejectsWith('not_found', health.check({ service: 'x' }), 'unknown service')
  const { statuses } = await health.list({})
  assert.deepEqual(Object.keys(statuses), [''])
  assert.equal(statuses['']?.status, Serving.SERVING)
})

test('a watch tells at once and stays open until the client leaves', async (t) => {
  await using served = await serve(newContext(t), [healthApi()])
  const health = served.connection.client(Health)
  for (const [service, status] of [
    ['', Serving.SERVING],
    ['x', Serving.SERVICE_UNKNOWN],
  ] as const) {
    const watch = health.watch({ service })[Symbol.asyncIterator]()
    const first = await watch.next()
    assert.equal(first.value?.status, status)
    await watch.return?.()
  }
})
