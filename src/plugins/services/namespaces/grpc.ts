import { type Context, withNamespace } from '#core/context.ts'
import type { Publisher } from '#core/events/events.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Namespace, NamespaceStore } from '#core/namespaces/namespaces.ts'
import { NamespaceUpdateSchema } from '#gen/events/namespace_pb.ts'
import { Namespaces, type Namespace as NamespaceMessage } from '#gen/services/namespaces_pb.ts'
import { CodedError, hasCode } from '#lib/errors/errors.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, EventPlugin, NamespacesService, type RpcContext } from '#plugins/types.ts'
import { pack } from '#proxy/convert/pack.ts'

/** The service `containerd.services.namespaces.v1.Namespaces` over a store. */
export const namespacesApi = (
  store: NamespaceStore,
  publisher: Publisher,
): RegisteredService<RpcContext> =>
  implement(Namespaces, {
    async get({ name }, ctx) {
      return { namespace: toProto({ name, labels: await labelsOf(ctx, store, name) }) }
    },
    async list(_request, ctx) {
      return { namespaces: (await store.list(ctx)).map(toProto) }
    },
    async create({ namespace }, ctx) {
      const given = fromProto(namespace)
      await store.create(ctx, given)
      return { namespace: toProto(given) }
    },
    async update({ namespace, updateMask }, ctx) {
      const given = fromProto(namespace)
      const paths = updateMask?.paths ?? []
      if (paths.length > 0) await store.setLabels(ctx, given.name, named(given.labels, paths))
      else await store.setLabels(ctx, given.name, given.labels, { replace: true })
      const event = pack(NamespaceUpdateSchema, { name: given.name, labels: given.labels })
      publisher.publish(withNamespace(ctx, given.name), '/namespaces/update', event)
      // Upstream answers with an empty message here, and clients do not read it.
      return {}
    },
    async delete({ name }, ctx) {
      await store.delete(ctx, name)
      return {}
    },
  })

/**
 * The labels of a namespace; none for one that is not there, as upstream has it: clients ask for the
 * defaults of a namespace before anything has been written in it.
 */
async function labelsOf(ctx: Context, store: NamespaceStore, name: string): Promise<Labels> {
  try {
    return (await store.get(ctx, name)).labels
  } catch (err) {
    if (!hasCode(err, 'not_found')) throw err
    return {}
  }
}

/** The labels that `paths` name, `labels.<key>` each; one that is not given is to go. */
function named(labels: Labels, paths: readonly string[]): Labels {
  const unknown = paths.find((path) => !path.startsWith(labelPrefix))
  if (unknown !== undefined) {
    throw new CodedError('invalid_argument', `cannot update ${JSON.stringify(unknown)} field`)
  }
  const keys = paths.map((path) => path.slice(labelPrefix.length))
  return Object.fromEntries(
    keys.map((key) => [key, (Object.hasOwn(labels, key) && labels[key]) || '']),
  )
}

const labelPrefix = 'labels.'

const toProto = ({ name, labels }: Namespace) => ({ name, labels: { ...labels } })

const fromProto = (namespace: NamespaceMessage | undefined): Namespace => ({
  name: namespace?.name ?? '',
  labels: namespace?.labels ?? {},
})

/** `io.containerd.grpc.v1.namespaces`. */
export const namespacesApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'namespaces',
  requires: { namespaces: NamespacesService, events: EventPlugin },
  init: ({ deps }) => ({ grpc: [namespacesApi(deps.namespaces, deps.events)] }),
})
