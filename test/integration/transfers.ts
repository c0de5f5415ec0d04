import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import { hostPlatform } from '#core/platforms/platforms.ts'
import { type RegistrySettings, RemoteTransfers } from '#proxy/transfer/transfers.ts'
import { newContext } from '#testing/context.ts'
import { type DaemonOptions, startDaemon, type TestDaemon } from '#testing/daemon.ts'

/** A daemon, and what has it move images, in the namespace `testing`. */
export interface TransferDaemon extends AsyncDisposable {
  readonly daemon: TestDaemon
  readonly client: Client
  readonly transfers: RemoteTransfers
}

export async function startTransferDaemon(options: DaemonOptions = {}): Promise<TransferDaemon> {
  await using scope = new AsyncDisposableStack()
  const daemon = scope.use(await startDaemon(options))
  const client = scope.use(await connect(daemon.address, { namespace: 'testing' }))
  const owned = scope.move()
  return {
    daemon,
    client,
    transfers: new RemoteTransfers(client.connection),
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  }
}

/** Pulls as `ctr image pull` does: what is for this machine, unpacked. */
export const pull = async (
  t: { readonly signal: AbortSignal },
  { transfers }: Pick<TransferDaemon, 'transfers'>,
  from: RegistrySettings,
): Promise<void> =>
  await transfers.pull(newContext(t), from, {
    name: from.reference,
    platforms: [hostPlatform],
    unpacks: [{ platform: hostPlatform }],
  })

/** Pushes all of an image. */
export const push = async (
  t: { readonly signal: AbortSignal },
  { transfers }: Pick<TransferDaemon, 'transfers'>,
  image: string,
  to: RegistrySettings,
): Promise<void> => await transfers.push(newContext(t), { name: image }, to)
