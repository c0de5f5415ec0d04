import { Content, WriteAction } from '#gen/services/content_pb.ts'
import { Snapshots } from '#gen/services/snapshots_pb.ts'
import { digestOf } from '#lib/digest/digest.ts'

import { type Caller, type Chooser, type Kind, type RandomCall, callOf } from './chooser.ts'

const labelPaths = ['labels', 'labels.a', 'labels.b.c/d', 'size', 'parent', 'kind'] as const

/** Of snapshots. A name is never empty: containerd says then that a bucket needs one. */
export const snapshotCall: Kind = (c, caller) => {
  const method = c.one([
    'prepare',
    'prepare',
    'view',
    'commit',
    'commit',
    'stat',
    'mounts',
    'usage',
    'remove',
    'remove',
    'update',
    'list',
  ])
  const key = c.mostly(['x', 'y', 'z'], 'with/slash', 'with space')
  const snapshotter = c.mostly(['native', 'overlayfs'], '', 'none')
  const labels = c.labels()
  const parent = c.mostly(['', 'x', 'y', 'z'], 'none')
  const requests = {
    prepare: { key, parent, labels },
    view: { key, parent, labels },
    commit: { key, name: c.one(['x', 'y', 'z']), labels },
    stat: { key },
    mounts: { key },
    usage: { key },
    remove: { key },
    update: { info: { name: key, labels }, ...c.mask(labelPaths) },
    list: { filters: c.filters() },
  }
  const request = { snapshotter, ...requests[method] }
  return callOf(Snapshots, method, request, caller)
}

/** What is uploaded under each ref. */
const uploads = { x: 'a', y: 'bc', z: 'def', '': 'a' } as const

/** Of content. */
export const contentCall: Kind = (c, caller) => {
  const method = c.one([
    'info',
    'list',
    'delete',
    'update',
    'read',
    'status',
    'listStatuses',
    'abort',
    'write',
    'write',
  ])
  if (method === 'write') return c.chance(4) ? partCall(c, caller) : uploadCall(c, caller)
  const digest = c.mostly([digestOf('a'), digestOf('bc'), digestOf('def')], 'sha256:short', '')
  const ref = c.mostly(['x', 'y', 'z'], '')
  const requests = {
    info: { digest },
    delete: { digest },
    update: { info: { digest, labels: c.labels() }, ...c.mask(labelPaths) },
    list: { filters: c.filters() },
    read: { digest, offset: BigInt(c.below(6) - 1), size: BigInt(c.below(6) - 1) },
    status: { ref },
    listStatuses: { filters: [`ref==${ref}`] },
    abort: { ref },
  }
  return callOf(Content, method, requests[method], caller)
}

/** What is said of the size of an upload, always the same: wharfd takes it also when it is said later. */
const totalOf = (ref: keyof typeof uploads): { readonly total?: bigint } =>
  ref === 'z' ? {} : { total: BigInt(uploads[ref].length) }

/** A whole upload. Nothing is expected beforehand: containerd goes wrong where another namespace has it. */
function uploadCall(c: Chooser, caller: Caller): RandomCall {
  const ref = c.mostly(['x', 'y', 'z'], '')
  const text = uploads[ref]
  const total = totalOf(ref)
  const expected = c.maybe(2, { expected: digestOf(c.chance(10) ? 'else' : text) })
  return writeOf(caller, [
    { action: WriteAction.STAT, ref, ...total },
    { action: WriteAction.WRITE, ref, data: Buffer.from(text), ...c.maybe(4, total) },
    {
      action: WriteAction.COMMIT,
      ref,
      offset: BigInt(text.length),
      ...total,
      ...expected,
      labels: c.labels(),
    },
  ])
}

/** A part of one, perhaps at the wrong place. Any of it may be what the upload begins with. */
function partCall(c: Chooser, caller: Caller): RandomCall {
  const ref = c.one(['x', 'y', 'z'])
  const any = { ref, ...totalOf(ref) }
  const stat = { ...any, action: WriteAction.STAT }
  const offset = BigInt(c.below(4))
  const write = { ...any, action: WriteAction.WRITE, offset, data: Buffer.from(uploads[ref]) }
  const commit = { ...any, action: WriteAction.COMMIT, offset, labels: c.labels() }
  return writeOf(caller, c.one<readonly object[]>([[], [stat], [write], [stat, write], [commit]]))
}

const writeOf = (caller: Caller, requests: readonly object[]): RandomCall =>
  callOf(Content, 'write', requests, caller)
