import { tmpdir } from 'node:os'

import type { AbortOptions } from '#lib/async/mutex.ts'
import { type GrpcClientOptions, connectGrpc } from '#lib/grpc/client.ts'
import type { Connection } from '#lib/rpc/rpc.ts'

import { Client } from './client.ts'
import { Session, type SessionSettings } from './session.ts'

/** How to reach a daemon, and on whose behalf. */
export interface ConnectOptions
  extends Partial<SessionSettings>,
    Pick<GrpcClientOptions, 'signal' | 'connectMs' | 'tls'> {}

const defaults: Omit<SessionSettings, 'fifoDir'> = {
  namespace: 'default',
  lease: '',
  snapshotter: 'overlayfs',
  runtime: 'io.containerd.runc.v2',
}

/**
 * Connects to a daemon.
 *
 * @param address path of its socket, or `host:port`.
 * @throws `unavailable` when nobody answers; the reason of the signal.
 */
export async function connect(address: string, options: ConnectOptions = {}): Promise<Client> {
  const { signal, connectMs, tls, ...settings } = options
  const dial = async ({ signal: leave }: AbortOptions): Promise<Connection> =>
    await connectGrpc(address, {
      signal: leave,
      ...(connectMs !== undefined && { connectMs }),
      ...(tls && { tls }),
    })
  const given = { fifoDir: tmpdir(), ...defaults, ...settings }
  return new Client(new Session(await dial(signal ? { signal } : {}), given, dial))
}
