import { createHash } from 'node:crypto'
import { connect } from 'node:net'
import { join } from 'node:path'

import { checkSocketPath } from '#core/runtime/socket-path.ts'

/** Where upstream's shims have their sockets, too. */
const defaultSocketDir = '/run/containerd/s'
/** How long a host may take to accept, ms. */
const connectMs = 5_000

/** Names the socket of a group: the same for everybody who starts a container of it. */
export interface SocketName {
  /** Of the daemon's gRPC socket: two daemons do not share a host. */
  readonly grpcAddress: string
  readonly namespace: string
  readonly group: string
}

/** The directory for shim sockets, from what the daemon said or the environment. */
export const socketDir = (fromDaemon: string, env: NodeJS.ProcessEnv): string =>
  fromDaemon || env['WHARF_SHIM_SOCKET_DIR'] || defaultSocketDir

/** `<dir>/<sha256 of "<grpc address>/<namespace>/<group>">`. @throws `invalid_argument` if too long. */
export function socketPath(dir: string, { grpcAddress, namespace, group }: SocketName): string {
  const digest = createHash('sha256')
    .update(join(grpcAddress, namespace, group))
    .digest('hex')
  const path = join(dir, digest)
  checkSocketPath(path)
  return path
}

/** Whether somebody serves at `path`. @throws the system's error if that cannot be told. */
export async function isServed(path: string): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>()
  const socket = connect({ path })
  using timer = setTimeout(() => socket.destroy(new Error(`connect ${path}: timed out`)), connectMs)
  socket.once('connect', () => resolve(true))
  socket.once('error', (err: NodeJS.ErrnoException) => {
    if (err.code === 'ENOENT' || err.code === 'ECONNREFUSED') resolve(false)
    // Its backlog is full.
    else if (err.code === 'EAGAIN') resolve(true)
    else reject(err)
  })
  try {
    return await promise
  } finally {
    timer.unref()
    socket.destroy()
  }
}
