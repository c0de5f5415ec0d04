import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { rpcSuite } from '#lib/rpc/testsuite.ts'

import { connectTtrpc } from './client.ts'
import { maxDataBytes } from './frame.ts'
import { listenTtrpc } from './server.ts'

const supports = { cancel: false, flowControl: false, maxBytes: maxDataBytes }

rpcSuite('ttrpc on a unix socket', supports, async (options) => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'ttrpc-'))
  const path = join(dir.path, 'socket')
  const server = await listenTtrpc({ path }, options)
  return { server, connection: await connectTtrpc(`unix://${path}`) }
})
