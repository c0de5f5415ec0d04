import { invalidArgument } from '#lib/errors/errors.ts'
import { isTable } from '#lib/toml/decode.ts'
import { SkipPlugin, definePlugin } from '#plugin/plugin.ts'
import { ServerPlugin } from '#plugins/types.ts'

import { guard } from './access/guard.ts'
import { type Role, parseRole } from './access/role.ts'
import { unixPath } from './address.ts'
import { grpcRequires, type Listen, requireAudit, serveGrpc } from './grpc-server.ts'
import { listenUnixGrpc } from './unix-grpc.ts'

/** One more socket, whose clients may do less. */
interface Listener {
  readonly address: string
  readonly uid: number
  readonly gid: number
  readonly mode: number
  readonly role: Role
}

const noListeners: readonly unknown[] = []
const maxMode = 0o777
const defaultLimits = { maxRecvMessageSize: 0, maxSendMessageSize: 0 }

/**
 * `io.containerd.server.v1.listeners`: more unix sockets, each with an owner and a role. containerd
 * has no such thing.
 *
 *     [[listeners]]
 *     address = "/run/containerd/readers.sock"
 *     gid = 1000
 *     mode = 0o660
 *     role = "read-only"
 */
export const listenersPlugin = definePlugin({
  type: ServerPlugin,
  id: 'listeners',
  requires: grpcRequires,
  config: { listeners: noListeners },
  describe: { listeners: 'more unix sockets: tables of address, uid, gid, mode and role' },

  init({ ctx: { log, trace }, config, daemon, deps }) {
    requireAudit(daemon)
    if (config.listeners.length === 0) throw new SkipPlugin('no further listeners are configured')
    const listeners = config.listeners.map((each, i) => parseListener(each, `listeners[${i}]`))
    refuseTwins(listeners)
    const scope = new AsyncDisposableStack()
    return {
      async listen({ signal }) {
        for (const listener of listeners) {
          const { address, role } = listener
          const listen: Listen = async (options) =>
            await listenUnixGrpc(address, listener, options, signal)
          const settings = { log, trace, ...defaultLimits, guard: guard(role, address) }
          scope.use(await serveGrpc(deps, settings, listen))
          log.info('serving...', { address, role: role.rule })
        }
      },
      [Symbol.asyncDispose]: async () => await scope.disposeAsync(),
    }
  },
})

/** @throws `invalid_argument` for a key that is unknown: a role that is misspelt must not be lost. */
function parseListener(value: unknown, where: string): Listener {
  if (!isTable(value)) throw invalidArgument(`${where} must be a table`)
  const { address, uid, gid, mode = 0o660, role, ...others } = value
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) throw invalidArgument(`${where}.${unknown} is not known`)
  if (typeof address !== 'string') throw invalidArgument(`${where}.address must be a path`)
  return {
    address: unixPath(address),
    uid: id(uid ?? process.geteuid?.() ?? 0, `${where}.uid`),
    gid: id(gid ?? process.getegid?.() ?? 0, `${where}.gid`),
    mode: parseMode(mode, `${where}.mode`),
    role: parseRole(role, `${where}.role`),
  }
}

function id(value: unknown, where: string): number {
  const number = typeof value === 'bigint' ? Number(value) : value
  if (typeof number === 'number' && Number.isInteger(number) && number >= 0) return number
  throw invalidArgument(`${where} must be a number`)
}

/** A number (TOML's `0o660`) or its digits (`"0660"`). */
function parseMode(value: unknown, where: string): number {
  const digits = typeof value === 'string' && /^0?[0-7]{3}$/.test(value)
  const mode = digits ? Number.parseInt(value, 8) : id(value, where)
  if (mode > maxMode) throw invalidArgument(`${where} must be at most 0o777; write it in octal`)
  return mode
}

function refuseTwins(listeners: readonly Listener[]): void {
  const seen = new Set<string>()
  for (const { address } of listeners) {
    if (seen.has(address)) throw invalidArgument(`two listeners have the address "${address}"`)
    seen.add(address)
  }
}
