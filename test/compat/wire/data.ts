import { Content, WriteAction } from '#gen/services/content_pb.ts'
import { Snapshots } from '#gen/services/snapshots_pb.ts'
import { digestOf } from '#lib/digest/digest.ts'

import { type Steps, badFilters, inside, succeeds } from './steps.ts'

const { STAT, WRITE, COMMIT } = WriteAction
const text = Buffer.from('abcde')
const digest = digestOf(text)
const missing = digestOf('missing')

/** Keeps a blob or a snapshot from the collectors, which run at moments of their own. */
const kept = { 'containerd.io/gc.root': 'yes' }

/** Calls for content. */
export const contentSteps: Steps = (connection) => {
  const content = connection.client(Content)
  const { info, read, update, status, abort, list, listStatuses } = content
  const write =
    (...requests: object[]) =>
    () =>
      content.write(each(requests), inside)
  return [
    ['ask for no digest', () => info({ digest: 'x' }, inside)],
    ['ask for a short digest', () => info({ digest: 'sha256:abc' }, inside)],
    ['ask for what is not there', () => info({ digest: missing }, inside)],
    ['ask without a namespace', () => info({ digest: missing })],
    ['delete no digest', () => content.delete({ digest: 'x' }, inside)],
    ['delete what is not there', () => content.delete({ digest: missing }, inside)],
    ['read no digest', () => read({ digest: 'x' }, inside)],
    ['read what is not there', () => read({ digest: missing }, inside)],
    ['update no digest', () => update({ info: { digest: 'x' } }, inside)],
    ['update what is not there', () => update({ info: { digest: missing } }, inside)],
    ['state of no upload', () => status({ ref: 'r' }, inside)],
    ['abort no upload', () => abort({ ref: 'r' }, inside)],
    ['list no uploads', () => listStatuses({}, inside)],
    ['write nothing', write()],
    ['write without a ref', write({ action: STAT })],
    ['begin', write({ action: STAT, ref: 'r', total: 5n })],
    ['write a part', write({ action: WRITE, ref: 'r', data: text.subarray(0, 3) })],
    ['state of the upload', () => status({ ref: 'r' }, inside)],
    ['list uploads', () => listStatuses({ filters: ['ref==r'] }, inside)],
    ['write past the end', write({ action: WRITE, ref: 'r', offset: 9n, data: text })],
    ['write the rest', write({ action: WRITE, ref: 'r', offset: 3n, data: text.subarray(3) })],
    ['commit as another', write({ action: COMMIT, ref: 'r', offset: 5n, expected: missing })],
    [
      'commit',
      write({ action: COMMIT, ref: 'r', offset: 5n, total: 5n, labels: { k: 'v', ...kept } }),
    ],
    ['write what is known', write({ action: STAT, ref: 'r3', expected: digest })],
    [
      'write what turns out to be known',
      write(
        { action: STAT, ref: 'r4' },
        { action: WRITE, data: text },
        { action: COMMIT, offset: 5n, expected: digest },
      ),
    ],
    ['ask', () => info({ digest }, inside)],
    ['update a label', () => update(labelled('labels.a'), inside)],
    ['update the size', () => update(labelled('size'), inside)],
    ['list', () => list({ filters: ['labels.a==b'] }, inside)],
    ['read a range', () => read({ digest, offset: 1n, size: 2n }, inside)],
    ['read past the end', () => read({ digest, offset: 9n }, inside)],
    ['read from below the beginning', () => read({ digest, offset: -9n, size: -1n }, inside)],
    ['ask elsewhere', () => info({ digest }, elsewhere)],
  ]
}

const elsewhere = { metadata: { 'containerd-namespace': 'elsewhere' } }

const labelled = (path: string) => ({
  info: { digest, labels: { a: 'b' } },
  updateMask: { paths: [path] },
})

async function* each(requests: readonly object[]) {
  for (const request of requests) yield await Promise.resolve(request)
}

/** Calls for snapshots. */
export const snapshotSteps: Steps = (connection) => {
  const snapshots = connection.client(Snapshots)
  const { stat, mounts, usage, remove, commit, prepare, view, update, list } = snapshots
  const native = (fields: object) => ({ snapshotter: 'native', ...fields })
  const nothing = native({ key: 'x' })
  const base = native({ key: 'base' })
  const relabelled = (name: string, path: string) =>
    native({ info: { name, labels: { n: 'm' } }, updateMask: { paths: [path] } })
  return [
    ['look without a snapshotter', () => stat({ key: 'x' }, inside)],
    ['look in one that is not there', () => stat({ snapshotter: 'nope', key: 'x' }, inside)],
    ['list one that is not there', () => list({ snapshotter: 'nope' }, inside)],
    ['look at nothing', () => stat(nothing, inside)],
    ['mount nothing', () => mounts(nothing, inside)],
    ['measure nothing', () => usage(nothing, inside)],
    ['remove nothing', () => remove(nothing, inside)],
    ['commit nothing', () => commit(native({ key: 'x', name: 'y' }), inside)],
    ['prepare on nothing', () => prepare(native({ key: 'x', parent: 'pp' }), inside)],
    ['prepare', () => succeeds(prepare(native({ key: 'x', labels: { a: 'b', ...kept } }), inside))],
    ['prepare again', () => prepare(nothing, inside)],
    ['look', () => stat(nothing, inside)],
    [
      'commit',
      () => commit(native({ key: 'x', name: 'base', labels: { q: 'w', ...kept } }), inside),
    ],
    ['look at what was committed', () => stat(base, inside)],
    ['mount what was committed', () => mounts(base, inside)],
    ['view', () => succeeds(view(native({ key: 'v', parent: 'base', labels: kept }), inside))],
    ['remove a parent', () => remove(base, inside)],
    ['update a label', () => update(relabelled('base', 'labels.n'), inside)],
    ['update the parent', () => update(relabelled('base', 'parent'), inside)],
    ['update nothing', () => update(relabelled('zz', 'labels.n'), inside)],
    ['list', () => list(native({}), inside)],
    ['list views', () => list(native({ filters: ['kind==view'] }), inside)],
    ['list by a bad label', () => list(native({ filters: ['labels.q==x'] }), inside)],
    ['prepare with a lease that is not there', () => prepare(native({ key: 'le' }), leased)],
    ['remove', () => remove(native({ key: 'v' }), inside)],
    [
      'list by a bad filter',
      () => connection.client(Content).list({ filters: badFilters }, inside),
    ],
  ]
}

const leased = { metadata: { ...inside.metadata, 'containerd-lease': 'nolease' } }
