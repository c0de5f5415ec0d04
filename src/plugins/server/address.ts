import { invalidArgument } from '#lib/errors/errors.ts'

/** The longest path that fits `sockaddr_un`, in bytes. */
const longestPath = 107

/**
 * The path of a unix socket that is to be listened on, `unix://` in front of it or not.
 *
 * @throws `invalid_argument` for every other kind of address, with the reason.
 */
export function unixPath(address: string): string {
  if (address.startsWith('@') || address.startsWith('\0')) {
    throw invalidArgument(
      `abstract socket "${address}": it has no owner and no mode, so that everybody could connect; use a path`,
    )
  }
  const path = address.replace(/^unix:\/\//, '')
  if (/^h?vsock:\/\//.test(path)) {
    throw invalidArgument(
      `address "${address}": listening on vsock is not supported; use a unix socket`,
    )
  }
  if (/^[a-z+]+:\/\//.test(path) || !path.includes('/')) {
    throw invalidArgument(`address "${address}" is not the path of a unix socket`)
  }
  if (Buffer.byteLength(path) > longestPath) {
    throw invalidArgument(
      `the path of a unix socket has at most ${longestPath} bytes, and "${path}" is longer`,
    )
  }
  return path
}

/** A TCP address: without a host, every one this machine has. */
export interface TcpAddress {
  readonly host: string | undefined
  readonly port: number
}

/** `host:port`, `:port` or `[v6]:port`. @throws `invalid_argument` for anything else. */
export function tcpAddress(address: string): TcpAddress {
  const found = /^(?:\[(?<v6>[0-9a-fA-F:.%\w]+)\]|(?<host>[^:/@[\]]*)):(?<port>\d{1,5})$/.exec(
    address,
  )
  const port = Number(found?.groups?.['port'])
  if (!found || port > 65_535) {
    throw invalidArgument(`address "${address}" is not host:port`)
  }
  return { host: (found.groups?.['v6'] ?? found.groups?.['host']) || undefined, port }
}

/** Whether only this machine can connect to it. */
export const isLoopback = ({ host }: TcpAddress): boolean =>
  host !== undefined && (host === 'localhost' || host === '::1' || /^127(\.\d+){3}$/.test(host))

/** Whether it looks like a path rather than host and port. */
export const isPath = (address: string): boolean => /^[/@\0.]|:\/\//.test(address)
