import { createHash } from 'node:crypto'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'

import type { Any } from '#core/any/any.ts'
import { BootstrapParamsSchema, BootstrapResultSchema, LogLevel } from '#gen/shim/bootstrap_pb.ts'
import { unimplemented } from '#lib/errors/errors.ts'

import type { BootstrapForm } from './shim-version.ts'

/** How to reach a shim: what its `start` answers, and `bootstrap.json` keeps. */
export interface Endpoint {
  /** Of the task API: 2 or 3. */
  readonly version: number
  /** `unix:///path`, or a bare name for an abstract socket. */
  readonly address: string
  /** `ttrpc` or `grpc`. */
  readonly protocol: string
}

const newestVersion = 3

/** What a shim is told on stdin in its newer form; its flags say most of it again. */
export interface StartParams {
  readonly id: string
  readonly namespace: string
  readonly address: string
  readonly ttrpcAddress: string
  readonly daemonBinary: string
  readonly socketDir: string
  readonly options?: Any | undefined
}

/** The bytes for the stdin of `start`. */
export function encodeStart(form: BootstrapForm, params: StartParams): Uint8Array | undefined {
  const { options } = params
  if (form === 'any') return options && toBinary(AnySchema, create(AnySchema, options))
  const message = create(BootstrapParamsSchema, {
    instanceId: params.id,
    namespace: params.namespace,
    logLevel: LogLevel.INFO,
    containerdGrpcAddress: params.address,
    containerdTtrpcAddress: params.ttrpcAddress,
    containerdBinary: params.daemonBinary,
    socketDir: params.socketDir,
    extensions: options ? [{ value: options }] : [],
  })
  return toBinary(BootstrapParamsSchema, message)
}

/**
 * Reads the answer of `start`, in any of its three forms: an address, JSON, protobuf.
 *
 * @throws `unimplemented` for a version of the task API that came later; {Error} for no address.
 */
export function parseStartReply(reply: Uint8Array): Endpoint {
  const text = new TextDecoder().decode(reply).trim()
  const endpoint = parseJson(text) ?? parseAddress(text) ?? parseProtobuf(reply) ?? legacy(text)
  if (endpoint.version > newestVersion) {
    throw unimplemented(`unsupported shim version (${endpoint.version})`)
  }
  if (endpoint.address === '') throw new Error('the shim gave no address')
  return endpoint
}

/** Keeps how to reach the shim for the next start of the daemon. */
export function writeEndpoint(bundlePath: string, { version, address, protocol }: Endpoint): void {
  const path = join(bundlePath, 'bootstrap.json')
  writeFileSync(`${path}.tmp`, JSON.stringify({ version, address, protocol }), { mode: 0o644 })
  renameSync(`${path}.tmp`, path)
}

/** Keeps it for a containerd before 2.0 too, which the built-in host serves like any other. */
export function writeLegacyAddress(bundlePath: string, { address }: Endpoint): void {
  writeFileSync(join(bundlePath, 'address'), address, { mode: 0o600 })
}

/** How to reach the shim of a bundle; of old ones, which left an `address` file, too. */
export function readEndpoint(bundlePath: string): Endpoint {
  const path = join(bundlePath, 'bootstrap.json')
  if (existsSync(path)) return parseStartReply(readFileSync(path))
  const endpoint = parseStartReply(readFileSync(join(bundlePath, 'address')))
  writeEndpoint(bundlePath, endpoint)
  return endpoint
}

/**
 * How to reach a shim whose `start` ended when nobody was there to hear its answer: at the socket
 * that runc's shims take for a container without a group. Nothing when it is not there.
 */
export function guessEndpoint(
  grpcAddress: string,
  { namespace, id }: { readonly namespace: string; readonly id: string },
  socketDirs: readonly string[],
): Endpoint | undefined {
  const name = socketName(grpcAddress, namespace, id)
  const path = socketDirs.map((dir) => join(dir, name)).find((each) => existsSync(each))
  return path === undefined
    ? undefined
    : { version: newestVersion, address: `unix://${path}`, protocol: 'ttrpc' }
}

/** The socket of the built-in host of a namespace. Source: `#shim/socket.ts`, `#shim/grouping.ts`. */
export const hostPath = (socketDir: string, grpcAddress: string, namespace: string): string =>
  join(socketDir, socketName(grpcAddress, namespace, '@namespace'))

const socketName = (grpcAddress: string, namespace: string, group: string): string =>
  createHash('sha256')
    .update(join(grpcAddress, namespace, group))
    .digest('hex')

const legacy = (address: string): Endpoint => ({ version: 2, address, protocol: 'ttrpc' })

function parseAddress(text: string): Endpoint | undefined {
  return /^[a-z]+:\/\/[\x21-\x7e]+$/.test(text) ? legacy(text) : undefined
}

function parseJson(text: string): Endpoint | undefined {
  if (!text.startsWith('{')) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return isEndpoint(value) && value.version >= 2 ? value : undefined
  } catch {
    // It may be protobuf that happens to begin like JSON.
    return undefined
  }
}

const isEndpoint = (value: unknown): value is Endpoint =>
  typeof value === 'object' &&
  value !== null &&
  'version' in value &&
  typeof value.version === 'number' &&
  'address' in value &&
  typeof value.address === 'string' &&
  'protocol' in value &&
  typeof value.protocol === 'string'

function parseProtobuf(reply: Uint8Array): Endpoint | undefined {
  try {
    const { version, address, protocol } = fromBinary(BootstrapResultSchema, reply)
    return address === '' ? undefined : { version, address, protocol: protocol || 'ttrpc' }
  } catch {
    // Not protobuf: an abstract address.
    return undefined
  }
}
