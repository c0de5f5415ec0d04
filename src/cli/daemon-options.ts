import { Option } from 'commander'

import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import { CodedError, hasCode } from '#lib/errors/errors.ts'

/** Which daemon is meant, and on whose behalf. */
export interface DaemonFlags {
  readonly address: string
  readonly namespace: string
}

/** `-a, --address`, as `ctr` has it. */
export const addressOption = (): Option =>
  new Option('-a, --address <socket>', 'where the daemon is')
    .env('CONTAINERD_ADDRESS')
    .default('/run/containerd/containerd.sock')

/** `-n, --namespace`, as `ctr` has it. */
export const namespaceOption = (whose: string): Option =>
  new Option('-n, --namespace <name>', whose).env('CONTAINERD_NAMESPACE').default('default')

/** Runs `work` with a connection. An interrupt ends what it does. */
export async function withClient<T>(
  { address, namespace }: DaemonFlags,
  work: (client: Client, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const stop = new AbortController()
  const onInterrupt = (): void => stop.abort(new CodedError('canceled', 'interrupted'))
  process.once('SIGINT', onInterrupt)
  using scope = new DisposableStack()
  scope.defer(() => process.off('SIGINT', onInterrupt))
  await using client = await open(address, namespace, stop.signal)
  return await work(client, stop.signal)
}

async function open(address: string, namespace: string, signal: AbortSignal): Promise<Client> {
  try {
    return await connect(address, { namespace, signal })
  } catch (err) {
    if (!hasCode(err, 'unavailable')) throw err
    const todo = 'start it, or say where it is with --address or CONTAINERD_ADDRESS'
    throw new CodedError('unavailable', `no daemon answers at ${address}: ${todo}`, { cause: err })
  }
}
