import { Containers } from '#gen/services/containers_pb.ts'
import { Images } from '#gen/services/images_pb.ts'
import { Leases } from '#gen/services/leases_pb.ts'
import { Namespaces } from '#gen/services/namespaces_pb.ts'
import { Store as Sandboxes } from '#gen/services/sandbox_pb.ts'
import { digestOf } from '#lib/digest/digest.ts'

import { type Kind, callOf } from './chooser.ts'

const namespacePaths = ['labels', 'labels.a', 'labels.b.c/d', 'labels.constructor', 'name'] as const

/** Of namespaces. */
export const namespaceCall: Kind = (c, caller) => {
  const method = c.one(['create', 'create', 'get', 'list', 'update', 'delete'])
  const name = c.namespace()
  const namespace = { name, labels: c.labels() }
  const requests = {
    create: { namespace },
    update: { namespace, ...c.mask(namespacePaths) },
    get: { name },
    list: {},
    delete: { name },
  }
  return callOf(Namespaces, method, requests[method], caller)
}

const imagePaths = ['labels', 'labels.a', 'target', 'annotations', 'annotations.a', 'name'] as const

/** Of images. */
export const imageCall: Kind = (c, caller) => {
  const method = c.one(['create', 'create', 'get', 'list', 'update', 'delete', 'delete'])
  const name = c.mostly(['x', 'y', 'docker.io/library/a:b'], '')
  const target = {
    mediaType: c.mostly(['text/plain', 'application/x'], ''),
    digest: c.mostly([digestOf('a'), digestOf('bc')], 'sha256:short', ''),
    size: c.mostly([1n, 2n], 0n, -1n),
    annotations: c.labels(),
  }
  const image = { name, target, labels: c.labels() }
  const requests = {
    create: { image },
    update: { image, ...c.mask(imagePaths) },
    get: { name },
    list: { filters: c.filters() },
    delete: { name, sync: c.chance(3), ...c.maybe(4, { target }) },
  }
  return callOf(Images, method, requests[method], caller)
}

const containerPaths = [
  'labels',
  'labels.a',
  'labels.b.c/d',
  'spec',
  'extensions',
  'extensions.e',
  'image',
  'snapshotkey',
  'snapshotter',
  'runtime',
  'sandbox',
  'id',
] as const

/** Of containers. Each has a spec: without one containerd makes it, and refuses all its updates. */
export const containerCall: Kind = (c, caller) => {
  const method = c.one([
    'create',
    'create',
    'get',
    'list',
    'listStream',
    'update',
    'update',
    'delete',
  ])
  const id = c.id()
  const container = {
    id,
    labels: c.labels(),
    image: c.one(['', 'x', 'y']),
    runtime: { name: c.mostly(['r', 'r2'], ''), ...c.maybe(3, { options: c.any() }) },
    spec: c.any(),
    snapshotter: c.one(['', 'native', 'native']),
    snapshotKey: c.one(['', 'x', 'y']),
    extensions: c.extensions(),
    sandbox: c.one(['', 's']),
  }
  const requests = {
    create: { container },
    update: { container, ...c.mask(containerPaths) },
    get: { id },
    delete: { id },
    list: { filters: c.filters() },
    listStream: { filters: c.filters() },
  }
  return callOf(Containers, method, requests[method], caller)
}

/** Of leases. */
export const leaseCall: Kind = (c, caller) => {
  const method = c.one([
    'create',
    'list',
    'delete',
    'addResource',
    'deleteResource',
    'listResources',
  ])
  const id = c.mostly(['x', 'y'], 'not a name', 'z')
  const type = c.mostly(
    ['content', 'images', 'snapshots/native', 'ingests'],
    'containers',
    'content/x',
    '',
  )
  const held = type === 'content' ? c.mostly([digestOf('a')], 'sha256:short') : c.one(['x', 'y'])
  const requests = {
    create: { id, labels: c.labels() },
    delete: { id, sync: c.chance(3) },
    list: { filters: c.filters() },
    addResource: { id, resource: { id: held, type } },
    deleteResource: { id, resource: { id: held, type } },
    listResources: { id },
  }
  return callOf(Leases, method, requests[method], caller)
}

const sandboxPaths = [
  'labels',
  'labels.a',
  'extensions',
  'extensions.e',
  'spec',
  'runtime',
  'id',
] as const

/** Of sandboxes. Each has a runtime: an update without one ends containerd. */
export const sandboxCall: Kind = (c, caller) => {
  const method = c.one(['create', 'create', 'get', 'list', 'update', 'update', 'delete'])
  const sandboxId = c.id()
  const sandbox = {
    sandboxId,
    runtime: { name: c.mostly(['r', 'r2'], ''), ...c.maybe(3, { options: c.any() }) },
    ...c.maybe(2, { spec: c.any() }),
    labels: c.labels(),
    extensions: c.extensions(),
    sandboxer: c.one(['', 'shim', 'podsandbox']),
  }
  const requests = {
    create: { sandbox },
    update: { sandbox, fields: c.paths(sandboxPaths) },
    get: { sandboxId },
    delete: { sandboxId },
    list: { filters: c.filters() },
  }
  return callOf(Sandboxes, method, requests[method], caller)
}
