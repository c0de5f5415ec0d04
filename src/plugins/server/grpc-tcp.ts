import { readFile } from 'node:fs/promises'
import type { TlsOptions } from 'node:tls'

import { invalidArgument } from '#lib/errors/errors.ts'
import { listenGrpc } from '#lib/grpc/server.ts'
import { SkipPlugin, definePlugin } from '#plugin/plugin.ts'
import { ServerPlugin } from '#plugins/types.ts'

import { isLoopback, tcpAddress } from './address.ts'
import { grpcRequires, type Listen, requireAudit, serveGrpc } from './grpc-server.ts'

/** `[plugins."io.containerd.server.v1.grpc-tcp"]`, before version 4 the `tcp_` keys of `[grpc]`. */
export interface GrpcTcpConfig {
  /** `host:port`; empty for none. */
  readonly address: string
  /** PEM files. With a CA, clients must show a certificate that it has signed. */
  readonly tlsCa: string
  readonly tlsCert: string
  readonly tlsKey: string
  /** For the certificate store of Windows; refused elsewhere. */
  readonly tlsCommonName: string
  /** In bytes; 0 for 16 MiB. */
  readonly maxRecvMessageSize: number
  readonly maxSendMessageSize: number
}

const defaults: GrpcTcpConfig = {
  address: '',
  tlsCa: '',
  tlsCert: '',
  tlsKey: '',
  tlsCommonName: '',
  maxRecvMessageSize: 16 * 1024 * 1024,
  maxSendMessageSize: 16 * 1024 * 1024,
}

/**
 * `io.containerd.server.v1.grpc-tcp`: everything the unix socket serves, for clients elsewhere.
 * containerd serves CRI alone there.
 */
export const grpcTcpServerPlugin = definePlugin({
  type: ServerPlugin,
  id: 'grpc-tcp',
  requires: grpcRequires,
  config: defaults,
  describe: {
    address: 'host:port; empty for none. Without a certificate only a loopback address',
    tlsCa: 'PEM file: clients must show a certificate signed by this authority',
    tlsCert: 'PEM file: the certificate of this server',
    tlsKey: 'PEM file: the key of that certificate',
    tlsCommonName: 'for Windows; refused on Linux',
    maxRecvMessageSize: 'largest message that is taken, in bytes; 0 for 16 MiB',
    maxSendMessageSize: 'largest message that is sent, in bytes; 0 for 16 MiB',
  },

  async init({ ctx: { log, trace }, config, daemon, deps, meta }) {
    requireAudit(daemon)
    if (config.address === '') throw new SkipPlugin('no TCP address is configured')
    const { host, port } = tcpAddress(config.address)
    const tls = await tlsOptions(config)
    if (!tls && !isLoopback({ host, port })) {
      throw invalidArgument(
        `gRPC on "${config.address}" needs tls_cert and tls_key: without them anybody on the network would be root here; plain TCP is for loopback addresses`,
      )
    }
    const scope = new AsyncDisposableStack()
    return {
      async listen() {
        const where = { ...(host ? { host } : {}), port, ...(tls ? { tls } : {}) }
        const listen: Listen = async (options) => await listenGrpc(where, options)
        const server = scope.use(await serveGrpc(deps, { ...config, log, trace }, listen))
        const address = `${host?.includes(':') ? `[${host}]` : (host ?? '')}:${server.port}`
        meta.exports['address'] = address
        log.info('serving...', { address, tls: tls !== undefined })
      },
      [Symbol.asyncDispose]: async () => await scope.disposeAsync(),
    }
  },
})

async function tlsOptions(config: GrpcTcpConfig): Promise<TlsOptions | undefined> {
  const { tlsCa, tlsCert, tlsKey, tlsCommonName } = config
  if (tlsCommonName !== '') {
    throw invalidArgument('tls_common_name is for the certificate store of Windows; use tls_cert')
  }
  if (tlsCert === '' && tlsKey === '' && tlsCa === '') return undefined
  if (tlsCert === '' || tlsKey === '') {
    throw invalidArgument('TLS needs both tls_cert and tls_key')
  }
  const [cert, key] = await Promise.all([read('tls_cert', tlsCert), read('tls_key', tlsKey)])
  const base: TlsOptions = { cert, key, minVersion: 'TLSv1.2' }
  if (tlsCa === '') return base
  const ca = await read('tls_ca', tlsCa)
  return { ...base, ca, requestCert: true, rejectUnauthorized: true }
}

async function read(key: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (err) {
    throw new Error(`read ${key}`, { cause: err })
  }
}
