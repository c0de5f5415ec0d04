import { Containers } from '#gen/services/containers_pb.ts'
import { Images } from '#gen/services/images_pb.ts'
import { Leases } from '#gen/services/leases_pb.ts'
import { Namespaces } from '#gen/services/namespaces_pb.ts'
import { Store as Sandboxes } from '#gen/services/sandbox_pb.ts'
import { digestOf } from '#lib/digest/digest.ts'

import { type Steps, badFilters, inside, longLabels } from './steps.ts'

/** Calls for namespaces. */
export const namespaceSteps: Steps = (connection) => {
  const { get, create, update, list, delete: remove } = connection.client(Namespaces)
  const wire = (labels = {}) => ({ namespace: { name: 'wire', labels } })
  return [
    ['get what is not there', () => get({ name: 'nope' })],
    ['create with a bad name', () => create({ namespace: { name: 'bad name' } })],
    ['create without a name', () => create({ namespace: { name: '' } })],
    ['create with a long label', () => create({ namespace: { name: 'x', labels: longLabels } })],
    ['create', () => create(wire({ a: 'b' }))],
    ['create again', () => create(wire())],
    ['update a label', () => update({ ...wire({ c: 'd' }), updateMask: { paths: ['labels.c'] } })],
    ['update the name', () => update({ ...wire(), updateMask: { paths: ['name'] } })],
    ['update all labels by mask', () => update({ ...wire(), updateMask: { paths: ['labels'] } })],
    ['update what is not there', () => update({ namespace: { name: 'new', labels: { x: 'y' } } })],
    ['get', () => get({ name: 'wire' })],
    ['list', () => list({})],
    ['delete', () => remove({ name: 'new' })],
    ['delete again', () => remove({ name: 'new' })],
    ['get without a name', () => get({ name: '' })],
    ['delete without a name', () => remove({ name: '' })],
  ]
}

const container = {
  id: 'c1',
  image: 'img',
  runtime: { name: 'io.containerd.runc.v2' },
  spec: { typeUrl: 'types.containerd.io/x', value: Buffer.from('{}') },
  labels: { l: '1' },
  snapshotter: 'native',
  snapshotKey: 'k',
}

/** Calls for containers. */
export const containerSteps: Steps = (connection) => {
  const { get, list, listStream, create, update, delete: remove } = connection.client(Containers)
  const made = (fields: object) => () => create({ container: { ...container, ...fields } }, inside)
  const changed = (fields: object, ...paths: string[]) => {
    const mask = paths.length > 0 ? { updateMask: { paths } } : {}
    return () => update({ container: { ...container, ...fields }, ...mask }, inside)
  }
  return [
    ['get without a namespace', () => get({ id: 'x' })],
    ['get in a namespace that is no name', () => get({ id: 'x' }, badNamespace)],
    ['get what is not there', () => get({ id: 'x' }, inside)],
    ['create without an id', made({ id: '' })],
    ['create with a bad id', made({ id: 'a b' })],
    ['create without a runtime', () => create({ container: { id: 'c' } }, inside)],
    ['create with a key and no snapshotter', made({ snapshotter: '' })],
    ['create with a long label', made({ labels: longLabels })],
    ['create with a nameless extension', made({ extensions: { '': { typeUrl: 'x' } } })],
    ['create', made({})],
    ['create again', made({})],
    ['get', () => get({ id: 'c1' }, inside)],
    ['list', () => list({}, inside)],
    ['list some', () => list({ filters: ['labels.l==2', 'id==c1'] }, inside)],
    ['list none', () => list({ filters: ['labels.l==2'] }, inside)],
    ['list by a bad filter', () => list({ filters: badFilters }, inside)],
    ['list by no regular expression', () => list({ filters: ['id~=/(/', 'id==zz'] }, inside)],
    ['stream', () => listStream({}, inside)],
    ['stream by a bad filter', () => listStream({ filters: badFilters }, inside)],
    ['update without an id', changed({ id: '' })],
    ['update what is not there', changed({ id: 'zz' })],
    ['update the snapshotter', changed({ snapshotter: 'x' })],
    ['update the runtime', changed({ runtime: { name: 'x' } })],
    ['update the id', changed({}, 'id')],
    ['update labels', changed({ labels: { l: '', m: '2' } }, 'labels.m', 'labels.l')],
    ['update the image', changed({ image: 'other' }, 'image')],
    ['update everything', changed({ image: 'third' })],
    ['delete what is not there', () => remove({ id: 'zz' }, inside)],
    ['delete its namespace', () => connection.client(Namespaces).delete({ name: 'wire' })],
  ]
}

const badNamespace = { metadata: { 'containerd-namespace': 'bad ns' } }
const target = { mediaType: 'text/plain', digest: digestOf('x'), size: 1n }

/** Calls for images. */
export const imageSteps: Steps = (connection) => {
  const { get, list, create, update, delete: remove } = connection.client(Images)
  const made = (fields: object, image: object = {}) => {
    const given = { name: 'i', target: { ...target, ...fields }, ...image }
    return () => create({ image: given }, inside)
  }
  const changed = (image: object, ...paths: string[]) => {
    const mask = paths.length > 0 ? { updateMask: { paths } } : {}
    return () => update({ image: { name: 'i', target, ...image }, ...mask }, inside)
  }
  return [
    ['get what is not there', () => get({ name: 'x' }, inside)],
    ['create without a name', made({}, { name: '' })],
    ['create without a size', made({ size: 0n })],
    ['create with a negative size', made({ size: -1n })],
    ['create with a bad digest', made({ digest: 'x' })],
    ['create without a media type', made({ mediaType: '' })],
    ['create', made({}, { labels: { a: '1' } })],
    ['create again', made({})],
    ['update a label and the target', changed(annotated, 'labels.b', 'target')],
    ['update the name', changed({}, 'name')],
    ['update what is not there', changed({ name: 'zz' })],
    ['update everything', changed({ labels: { z: '1' } })],
    ['list some', () => list({ filters: ['name==i'] }, inside)],
    ['list by a bad filter', () => list({ filters: badFilters }, inside)],
    ['update annotations', changed(annotated, 'annotations.q', 'annotations.r')],
    ['update all annotations', changed(annotated, 'annotations')],
    ['update to no digest', changed({ target: { ...target, digest: 'x' } }, 'target')],
    ['update to a long label', changed({ labels: longLabels }, 'labels')],
    ['update without a name', changed({ name: '' })],
    ['delete what is not there', () => remove({ name: 'zz' }, inside)],
    ['delete without a name', () => remove({ name: '' }, inside)],
    ['delete of another target', () => remove({ name: 'i', target: other }, inside)],
    ['delete with a lease that is not there', () => remove({ name: 'i' }, badLease)],
    ['create one that expires, with such a lease', () => create(expiring, badLease)],
    ['create one that stays, with such a lease', () => create(staying, badLease)],
    ['delete and wait', () => remove({ name: 'i', sync: true, target }, inside)],
  ]
}

const other = { ...target, digest: digestOf('y') }
const badLease = { metadata: { ...inside.metadata, 'containerd-lease': 'nolease' } }
const staying = { image: { name: 'stays', target } }
const expiring = {
  image: { name: 'e', target, labels: { 'containerd.io/gc.expire': '2100-01-01T00:00:00Z' } },
}

const annotated = {
  target: { ...target, size: 2n, annotations: { q: 'w' } },
  labels: { b: '2' },
}

const blob = { id: digestOf('x'), type: 'content' }

/** Calls for leases. */
export const leaseSteps: Steps = (connection) => {
  const leases = connection.client(Leases)
  const { create, list, addResource, deleteResource, listResources } = leases
  const held = (id: string, type: string) => ({ id, resource: { id: 'k', type } })
  return [
    ['create', () => create({ id: 'L', labels: { a: 'b' } }, inside)],
    ['create again', () => create({ id: 'L' }, inside)],
    ['list some', () => list({ filters: ['id==L'] }, inside)],
    ['list by a bad filter', () => list({ filters: badFilters }, inside)],
    ['hold a snapshot', () => addResource(held('L', 'snapshots/native'), inside)],
    ['hold what cannot be held', () => addResource(held('L', 'nonsense'), inside)],
    ['hold content that is no digest', () => addResource(held('L', 'content'), inside)],
    ['hold with a lease that is not there', () => addResource(held('M', 'ingests'), inside)],
    ['hold an image', () => addResource(held('L', 'images'), inside)],
    ['hold an image of a kind', () => addResource(held('L', 'images/x'), inside)],
    ['hold a snapshot of no snapshotter', () => addResource(held('L', 'snapshots'), inside)],
    ['hold a snapshot too deep', () => addResource(held('L', 'snapshots/a/b'), inside)],
    ['hold no kind', () => addResource({ id: 'L', resource: { id: 'x', type: '' } }, inside)],
    ['hold content', () => addResource({ id: 'L', resource: blob }, inside)],
    ['let go what is not held', () => deleteResource(held('L', 'ingests'), inside)],
    ['let go of no kind', () => deleteResource(held('L', 'nonsense'), inside)],
    ['let go with a lease that is not there', () => deleteResource(held('M', 'images'), inside)],
    ['list what is held', () => listResources({ id: 'L' }, inside)],
    ['create with a long label', () => create({ id: 'long', labels: longLabels }, inside)],
    ['create in a bad namespace', () => create({ id: 'L' }, badNamespace)],
    ['list what nothing holds', () => listResources({ id: 'M' }, inside)],
    ['let go', () => deleteResource(held('L', 'snapshots/native'), inside)],
    ['delete and wait', () => leases.delete({ id: 'L', sync: true }, inside)],
    ['delete again', () => leases.delete({ id: 'L' }, inside)],
  ]
}

const sandbox = {
  sandboxId: 's1',
  runtime: { name: 'r', options: { typeUrl: 'a.b/Options', value: Buffer.from('x') } },
  spec: { typeUrl: 'a.b/Spec', value: Buffer.from('{}') },
  labels: { l: '1', 'a.b': '2', empty: '' },
  sandboxer: 'shim',
  extensions: { e: { typeUrl: 'a.b/E', value: Buffer.from('y') } },
}

/** Calls for records of sandboxes. */
export const sandboxSteps: Steps = (connection) => {
  const { get, list, create, update, delete: remove } = connection.client(Sandboxes)
  const made = (fields: object) => () => create({ sandbox: { ...sandbox, ...fields } }, inside)
  const changed = (given: object, ...fields: string[]) => {
    return () => update({ sandbox: { ...sandbox, ...given }, fields }, inside)
  }
  return [
    ['get without a namespace', () => get({ sandboxId: 's1' })],
    ['get before there are any', () => get({ sandboxId: 's1' }, inside)],
    ['update before there are any', changed({})],
    ['delete before there are any', () => remove({ sandboxId: 's1' }, inside)],
    ['list none', () => list({}, inside)],
    ['create without an id', made({ sandboxId: '' })],
    ['create with a bad id', made({ sandboxId: 'a b' })],
    ['create', made({})],
    ['create again', made({})],
    ['create a small one', () => create({ sandbox: { sandboxId: 's2', runtime: {} } }, inside)],
    ['get', () => get({ sandboxId: 's1' }, inside)],
    ['get the small one', () => get({ sandboxId: 's2' }, inside)],
    ['get what is not there', () => get({ sandboxId: 'zz' }, inside)],
    ['list some', () => list({ filters: ['id==s2', 'labels."a.b"==2'] }, inside)],
    ['list by what it has not', () => list({ filters: ['sandboxer==shim'] }, inside)],
    ['list by a bad filter', () => list({ filters: badFilters }, inside)],
    ['update what is not there', changed({ sandboxId: 'zz' })],
    ['update the runtime', changed({ runtime: { name: 'other' } })],
    ['update the runtime by name', changed({ runtime: { name: 'other' } }, 'runtime')],
    ['update the sandboxer', changed({}, 'sandboxer')],
    ['update labels', changed({ labels: { l: '', m: '3' } }, 'labels.l', 'labels.m')],
    ['update one extension', changed({ extensions: { f: sandbox.spec } }, 'extensions.f')],
    ['update all extensions', changed({ extensions: { g: sandbox.spec } }, 'extensions')],
    ['get what was updated', () => get({ sandboxId: 's1' }, inside)],
    ['update everything', changed({ runtime: { name: 'other' }, labels: {} })],
    ['get what was updated again', () => get({ sandboxId: 's1' }, inside)],
    ['delete', () => remove({ sandboxId: 's2' }, inside)],
    ['delete again', () => remove({ sandboxId: 's2' }, inside)],
    ['delete its namespace', () => connection.client(Namespaces).delete({ name: 'wire' })],
  ]
}
