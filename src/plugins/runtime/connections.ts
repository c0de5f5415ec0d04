import { setMaxListeners } from 'node:events'

import type { Context } from '#core/context.ts'
import { type CodedError, unimplemented } from '#lib/errors/errors.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { connectTtrpc } from '#lib/ttrpc/client.ts'

import type { Endpoint } from './bootstrap.ts'

/** The part of one user in a connection: disposal gives it back, the last one closes. */
export interface Lease extends AsyncDisposable {
  readonly connection: Connection
}

interface Shared {
  readonly opening: Promise<Connection>
  users: number
}

const connectMs = 10_000

/** Connections to shims, one for each address however many tasks the shim serves. */
export class Connections {
  readonly #shared = new Map<string, Shared>()

  /** @throws `unavailable` when nobody answers; `unimplemented` for a protocol or kind of address. */
  async acquire(ctx: Context, endpoint: Endpoint, namespace: string): Promise<Lease> {
    const { address } = endpoint
    const shared = this.#shared.get(address) ?? this.#open(endpoint, namespace)
    shared.users++
    let released = false
    const release = async (): Promise<void> => {
      if (released) return
      released = true
      shared.users--
      if (shared.users === 0) await this.#close(address, shared)
    }
    try {
      const connection = await raceAbort(shared.opening, ctx.signal)
      return { connection, [Symbol.asyncDispose]: release }
    } catch (err) {
      await release()
      throw err
    }
  }

  #open(endpoint: Endpoint, namespace: string): Shared {
    const shared: Shared = { opening: connect(endpoint, namespace), users: 0 }
    const { address } = endpoint
    this.#shared.set(address, shared)
    const forget = (): void => {
      if (this.#shared.get(address) === shared) this.#shared.delete(address)
    }
    void watch(shared.opening, forget)
    return shared
  }

  async #close(address: string, shared: Shared): Promise<void> {
    if (this.#shared.get(address) === shared) this.#shared.delete(address)
    // One that could not be opened needs no closing.
    const connection = await shared.opening.catch(() => undefined)
    await connection?.[Symbol.asyncDispose]()
  }
}

/** Calls `onGone` when the connection is lost, or could not be made. */
async function watch(opening: Promise<Connection>, onGone: () => void): Promise<void> {
  try {
    const { closed } = await opening
    // Every task of the shim listens.
    setMaxListeners(0, closed)
    closed.addEventListener('abort', onGone, { once: true })
  } catch {
    // Those who wait for the connection have the error.
    onGone()
  }
}

async function connect({ address, protocol }: Endpoint, namespace: string): Promise<Connection> {
  const scheme = /^([a-z]+):\/\//.exec(address)?.[1]
  if (scheme !== undefined && scheme !== 'unix') throw notSupported(`address "${address}"`)
  switch (protocol.toLowerCase()) {
    case 'ttrpc': {
      // An address without a scheme is the name of an abstract socket.
      const target = scheme === undefined ? `\0${address}` : address
      const metadata = { 'containerd-namespace-ttrpc': namespace }
      return await connectTtrpc(target, { connectMs, metadata })
    }
    case 'grpc': {
      const metadata = { 'containerd-namespace': namespace }
      return await connectGrpc(address, { connectMs, metadata })
    }
    default:
      throw notSupported(`protocol "${protocol}"`)
  }
}

const notSupported = (what: string): CodedError =>
  unimplemented(`shims with ${what} are not supported`)
