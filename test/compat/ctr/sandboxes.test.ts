import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Store } from '#gen/services/sandbox_pb.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import type { TestDaemon } from '#testing/daemon.ts'

import { sideBySide } from './pair.ts'

const names = { theirs: 'theirs', ours: 'wharfs' } as const

async function create(daemon: TestDaemon, namespace: string, id: string): Promise<void> {
  await using connection = await connectGrpc(daemon.address, {
    metadata: { 'containerd-namespace': namespace },
  })
  const runtime = { name: 'io.containerd.runc.v2' }
  await connection.client(Store).create({ sandbox: { sandboxId: id, runtime, sandboxer: 'shim' } })
}

sideBySide('sandboxes', (pair) => {
  test('are listed, all or by filter', async () => {
    // ctr has the command since 2.0.
    if (pair().peer.major < 2) return
    await pair().all('sandboxes ls')
    for (const id of ['one', 'two']) {
      for (const side of ['theirs', 'ours'] as const) await create(pair()[side], names[side], id)
    }
    const { stdout } = await pair().same(['sandboxes', 'ls'])
    assert.match(stdout, /one[^\n]*\n[^]*two/)
    await pair().all('sandboxes ls id==two', 'sandboxes ls --filters id==two')
  })
})
