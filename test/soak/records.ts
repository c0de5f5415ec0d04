import { jsonTypes } from '#core/any/any.ts'
import type { Client } from '#client/client.ts'
import type { Context } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'
import { notFound } from '#lib/errors/errors.ts'
import { RemoteContainerStore } from '#proxy/containers.ts'
import { RemoteImageStore } from '#proxy/images.ts'
import { RemoteLeaseManager } from '#proxy/leases.ts'
import { RemoteNamespaceStore } from '#proxy/namespaces.ts'

/** Records with labels, of one kind. */
export interface Records {
  create(ctx: Context, name: string, labels: Labels): Promise<unknown>
  delete(ctx: Context, name: string): Promise<void>
  /** @throws `not_found`. */
  read(ctx: Context, name: string): Promise<Labels>
  /** Sets one label; not every kind can. */
  label?(ctx: Context, name: string, key: string, value: string): Promise<unknown>
}

const target = {
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  digest: `sha256:${'0'.repeat(64)}`,
  size: 1,
}

const container = {
  image: '',
  runtime: { name: 'io.containerd.runc.v2' },
  spec: { typeUrl: jsonTypes.spec, value: Buffer.from('{}') },
  snapshotKey: '',
  snapshotter: '',
  sandbox: '',
  extensions: {},
}

/** Every kind of record that the metadata has and a client can make without anything else. */
export function recordsOf({ connection }: Client): Readonly<Record<string, Records>> {
  const images = new RemoteImageStore(connection)
  const containers = new RemoteContainerStore(connection)
  return {
    namespace: namespaces(connection),
    lease: leases(connection),
    image: {
      create: (ctx, name, labels) => images.create(ctx, { name, labels, target }),
      delete: (ctx, name) => images.delete(ctx, name),
      read: async (ctx, name) => (await images.get(ctx, name)).labels,
      label: (ctx, name, key, value) =>
        images.update(ctx, { name, labels: { [key]: value }, target }, [`labels.${key}`]),
    },
    container: {
      create: (ctx, id, labels) => containers.create(ctx, { ...container, id, labels }),
      delete: (ctx, id) => containers.delete(ctx, id),
      read: async (ctx, id) => (await containers.get(ctx, id)).labels,
      label: (ctx, id, key, value) =>
        containers.update(ctx, { ...container, id, labels: { [key]: value } }, [`labels.${key}`]),
    },
  }
}

function namespaces(connection: Client['connection']): Records {
  const store = new RemoteNamespaceStore(connection)
  return {
    create: (ctx, name, labels) => store.create(ctx, { name, labels }),
    delete: (ctx, name) => store.delete(ctx, name),
    read: async (ctx, name) => (await store.get(ctx, name)).labels,
    label: (ctx, name, key, value) => store.setLabels(ctx, name, { [key]: value }),
  }
}

function leases(connection: Client['connection']): Records {
  const manager = new RemoteLeaseManager(connection)
  return {
    create: (ctx, id, labels) => manager.create(ctx, { id, labels }),
    delete: (ctx, id) => manager.delete(ctx, id),
    read: async (ctx, id) => {
      const [found] = await manager.list(ctx, [`id==${id}`])
      if (!found) throw notFound(`lease ${id} not found`)
      return found.labels
    },
  }
}
