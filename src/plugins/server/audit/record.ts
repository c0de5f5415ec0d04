import { readFileSync, readlinkSync } from 'node:fs'

import { fromBinary, isMessage } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'

import { TransferRequestSchema, type TransferRequest } from '#gen/services/transfer_pb.ts'
import { ImageStoreSchema } from '#gen/types/transfer/imagestore_pb.ts'
import { OCIRegistrySchema } from '#gen/types/transfer/registry_pb.ts'
import type { Call, Peer } from '#lib/rpc/rpc.ts'
import { statusName } from '#lib/rpc/status.ts'

/*
 * One line of the audit log, in JSON:
 *
 *   {"time":"2026-01-02T03:04:05.678Z","method":"/containerd.services.images.v1.Images/Delete",
 *    "namespace":"default","uid":0,"gid":0,"pid":4711,"comm":"ctr","exe":"/usr/bin/ctr",
 *    "target":{"name":"docker.io/library/busybox:latest"},"code":"NotFound","ms":0.8}
 *
 * uid, gid, pid, comm and exe are of the process that connected, and missing for TCP; pid may be of
 * a process that has handed its connection on. comm and exe are missing once it has ended.
 */

/** How a call ended. */
export interface Outcome {
  /** gRPC status number. */
  readonly code: number
  readonly ms: number
}

/** The line for a call, without its line feed. */
export function toLine(
  call: Call,
  namespace: string | undefined,
  target: Target,
  outcome: Outcome,
): string {
  return JSON.stringify({
    time: new Date().toISOString(),
    method: `/${call.service.typeName}/${call.method.name}`,
    ...(namespace ? { namespace } : {}),
    ...(call.peer ? identityOf(call.peer) : {}),
    ...(Object.keys(target).length > 0 ? { target } : {}),
    code: statusName(outcome.code),
    ms: Math.round(outcome.ms * 10) / 10,
  })
}

interface Identity extends Peer {
  readonly comm?: string
  readonly exe?: string
}

/** What is known of a client, looked up once for each connection. */
const identities = new WeakMap<Peer, Identity>()

function identityOf(peer: Peer): Identity {
  const known = identities.get(peer)
  if (known) return known
  const { uid, gid, pid } = peer
  const comm = ifThere(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd())
  const exe = ifThere(() => readlinkSync(`/proc/${pid}/exe`))
  const identity = { uid, gid, pid, ...(comm ? { comm } : {}), ...(exe ? { exe } : {}) }
  identities.set(peer, identity)
  return identity
}

function ifThere<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined // it has ended, belongs to another pid namespace, or is no such message
  }
}

/** What a request is about: ids and names, by field. */
export type Target = Readonly<Record<string, string>>

/** Fields that name what a request is about, and the words of the line for them. */
const fields = [
  ['id', 'id'],
  ['containerId', 'container_id'],
  ['execId', 'exec_id'],
  ['sandboxId', 'sandbox_id'],
  ['name', 'name'],
  ['ref', 'ref'],
  ['digest', 'digest'],
  ['key', 'key'],
  ['parent', 'parent'],
  ['snapshotter', 'snapshotter'],
  ['topic', 'topic'],
  ['type', 'type'],
] as const

/** Messages inside a request that are what it is about. */
const inside = [
  'container',
  'diff',
  'envelope',
  'image',
  'info',
  'lease',
  'namespace',
  'resource',
  'sandbox',
] as const

/** Longer names are cut: a line stays a line. */
const longest = 256

/** What `request` is about; fields of the request itself win over those inside. */
export function targetOf(request: unknown): Target {
  if (isMessage(request) && isMessage(request, TransferRequestSchema)) return ends(request)
  const found: Record<string, string> = {}
  for (const message of [...inside.map((name) => read(request, name)), request]) {
    for (const [field, word] of fields) {
      const value = read(message, field)
      if (typeof value === 'string' && value !== '') found[word] = value.slice(0, longest)
    }
  }
  return found
}

/** A transfer is from one end to the other. Of a registry only the reference is told. */
const ends = ({ source, destination }: TransferRequest): Target => ({
  ...(source && { from: endText(source) }),
  ...(destination && { to: endText(destination) }),
})

/** Such as `ImageStore docker.io/library/alpine:3.20`. */
function endText(any: Any): string {
  const kind = any.typeUrl.slice(any.typeUrl.lastIndexOf('.') + 1)
  const names = ifThere(() => {
    if (any.typeUrl === OCIRegistrySchema.typeName) {
      return [fromBinary(OCIRegistrySchema, any.value).reference]
    }
    if (any.typeUrl !== ImageStoreSchema.typeName) return []
    const { name, extraReferences } = fromBinary(ImageStoreSchema, any.value)
    return [name, ...extraReferences.map((reference) => reference.name)].filter(Boolean)
  })
  return [kind, ...(names ?? [])].join(' ').slice(0, longest)
}

const read = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined
