import { type GrpcServer, type GrpcServerOptions, listenGrpc } from '#lib/grpc/server.ts'
import { type SocketOwner, claimSocket, ownSocket } from '#lib/grpc/unix.ts'
import type { RpcContext } from '#plugins/types.ts'
import { peerCredentials, socketFd } from '#sys/peer.ts'

/**
 * Serves gRPC on a unix socket, whose clients are known by their credentials.
 *
 * @throws `already_exists` when somebody serves there; the system's errors.
 */
export async function listenUnixGrpc(
  path: string,
  owner: SocketOwner,
  options: GrpcServerOptions<RpcContext>,
  signal: AbortSignal,
): Promise<GrpcServer> {
  await claimSocket(path, signal)
  const server = await listenGrpc<RpcContext>(
    { path },
    { ...options, peerOf: (socket) => peerCredentials(socketFd(socket)) },
  )
  try {
    ownSocket(path, owner)
  } catch (err) {
    await server[Symbol.asyncDispose]()
    throw err
  }
  return server
}
