import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { rpcSuite } from '#lib/rpc/testsuite.ts'

import { connectGrpc } from './client.ts'
import { defaultMaxBytes } from './messages.ts'
import { listenGrpc } from './server.ts'

const supports = { cancel: true, flowControl: true, maxBytes: defaultMaxBytes }

rpcSuite('gRPC on a unix socket', supports, async (options) => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'grpc-'))
  const path = join(dir.path, 'socket')
  const server = await listenGrpc({ path }, options)
  return { server, connection: await connectGrpc(`unix://${path}`) }
})

rpcSuite('gRPC on TCP', supports, async (options) => {
  const server = await listenGrpc({ host: '127.0.0.1', port: 0 }, options)
  return { server, connection: await connectGrpc(`127.0.0.1:${server.port}`) }
})
