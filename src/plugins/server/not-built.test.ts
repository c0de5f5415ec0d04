import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { Client, credentials } from '@grpc/grpc-js'

import { Store } from '#gen/services/sandbox_pb.ts'
import { Transfer } from '#gen/services/transfer_pb.ts'
import { listenGrpc } from '#lib/grpc/server.ts'
import { type Call, implement } from '#lib/rpc/rpc.ts'
import type { RpcContext } from '#plugins/types.ts'
import { contextOf } from '#proxy/headers.ts'
import { newContext } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { serve } from '#testing/serve.ts'

import { complete, whyAbsent } from './not-built.ts'

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

test('why Kubernetes finds no runtime here is said, beside the words it looks for', async (t) => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'not-built-'))
  const path = join(dir.path, 's.sock')
  const ctx = newContext(t)
  const context = (call: Call) => contextOf(call, ctx.log)
  await using _server = await listenGrpc<RpcContext>({ path }, { services: [], whyAbsent, context })
  const client = new Client(`unix:${path}`, credentials.createInsecure())
  const details = async (method: string): Promise<string> =>
    await new Promise((resolve) => {
      const bytes = (value: Buffer): Buffer => value
      client.makeUnaryRequest(method, bytes, bytes, Buffer.alloc(0), (err) =>
        resolve(`${err?.code} ${err?.details}`),
      )
    })
  assert.equal(
    await details('/runtime.v1.RuntimeService/Version'),
    '12 unknown service runtime.v1.RuntimeService: the Kubernetes runtime interface (CRI) is not built yet in wharf',
  )
  assert.equal(await details('/a.B/C'), '12 unknown service a.B')
  client.close()
})
