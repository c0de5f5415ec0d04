import { ReconnectingConnection } from '#lib/grpc/reconnecting.ts'
import type { Connection } from '#lib/rpc/rpc.ts'

/** A lease is of this daemon: another containerd would look for it among its own. */
const hidden = ['containerd-lease']

interface Shared {
  readonly connection: ReconnectingConnection
  users: number
}

/** A use of a connection; disposing it closes the connection if it was the last. */
export interface Lent extends AsyncDisposable {
  readonly connection: Connection
}

/** One connection for each address, for as long as somebody uses it. */
export class Connections {
  readonly #byAddress = new Map<string, Shared>()

  /** The connection to `address`. It is not made before it is called over. */
  use(address: string): Lent {
    const shared = this.#byAddress.getOrInsertComputed(address, () => ({
      connection: new ReconnectingConnection(address, { hidden }),
      users: 0,
    }))
    shared.users++
    let over = false
    return {
      connection: shared.connection,
      [Symbol.asyncDispose]: async () => {
        if (over) return
        over = true
        if (--shared.users > 0) return
        this.#byAddress.delete(address)
        await shared.connection[Symbol.asyncDispose]()
      },
    }
  }
}
