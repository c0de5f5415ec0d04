import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Store } from '#gen/services/sandbox_pb.ts'
import { Transfer } from '#gen/services/transfer_pb.ts'
import { implement } from '#lib/rpc/rpc.ts'
import type { RpcContext } from '#plugins/types.ts'
import { newContext } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { complete } from './not-built.ts'

test('what is not built says so, by name', async (t) => {
  const apis = complete<RpcContext>([])
  await using served = await serve(newContext(t), apis)
  const { connection } = served
  await rejectsWith(
    'unimplemented',
    connection.client(Transfer).transfer({}),
    'containerd.services.transfer.v1.Transfer/Transfer is not built yet in wharf: not implemented',
  )
  await rejectsWith('unimplemented', connection.client(Store).list({}), /Store\/List is not built/)
  for (const { service, impl } of apis) {
    assert.deepEqual(
      Object.keys(impl),
      service.methods.map(({ localName }) => localName),
    )
  }
})

test('a service that somebody serves is left to them', () => {
  const transfer = implement<RpcContext, typeof Transfer>(Transfer, {})
  const services = complete<RpcContext>([transfer])
  assert.deepEqual(
    services.filter(({ service }) => service === Transfer),
    [transfer],
  )
})
