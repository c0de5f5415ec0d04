import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type { Context } from '#core/context.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import { listenGrpc } from '#lib/grpc/server.ts'
import type { Connection, RegisteredService } from '#lib/rpc/rpc.ts'
import type { RpcContext } from '#plugins/types.ts'
import { contextOf } from '#proxy/headers.ts'

/** Services behind a real gRPC server, and a connection to them. */
export interface Served extends AsyncDisposable {
  readonly connection: Connection
  /** Stops the server, and then disposes `owned`. */
  [Symbol.asyncDispose](): Promise<void>
}

/** Serves `services` on a socket of its own; `owned` goes when it does. */
export async function serve(
  ctx: Context,
  services: readonly RegisteredService<RpcContext>[],
  ...owned: readonly AsyncDisposable[]
): Promise<Served> {
  await using scope = new AsyncDisposableStack()
  for (const resource of owned) scope.use(resource)
  const dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'serve-')))
  const path = join(dir.path, 's.sock')
  const server = scope.use(
    await listenGrpc<RpcContext>(
      { path },
      { services, context: (call) => contextOf(call, ctx.log), stopMs: 1000 },
    ),
  )
  const connection = scope.use(await connectGrpc(path, { signal: ctx.signal }))
  // The server says goodbye first, as one that is told to stop does.
  scope.defer(async () => await server[Symbol.asyncDispose]())
  const all = scope.move()
  return { connection, [Symbol.asyncDispose]: async () => await all.disposeAsync() }
}
