import type { Context } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { LabelOptions, Namespace, NamespaceStore } from '#core/namespaces/namespaces.ts'
import { type Namespace as NamespaceMessage, Namespaces } from '#gen/services/namespaces_pb.ts'
import { notFound } from '#lib/errors/errors.ts'
import type { Connection, ServiceClient } from '#lib/rpc/rpc.ts'

import { callOptions } from './call.ts'

/** The namespaces of another daemon. */
export class RemoteNamespaceStore implements NamespaceStore {
  readonly #client: ServiceClient<typeof Namespaces>

  constructor(connection: Connection) {
    this.#client = connection.client(Namespaces)
  }

  async create(ctx: Context, { name, labels }: Namespace): Promise<void> {
    await this.#client.create({ namespace: { name, labels: { ...labels } } }, callOptions(ctx))
  }

  /** Looks through the list: the service's own `Get` answers for a namespace that is not there, too. */
  async get(ctx: Context, name: string): Promise<Namespace> {
    const found = (await this.list(ctx)).find((namespace) => namespace.name === name)
    if (!found) throw notFound(`namespace ${JSON.stringify(name)}`)
    return found
  }

  async list(ctx: Context): Promise<readonly Namespace[]> {
    const { namespaces } = await this.#client.list({}, callOptions(ctx))
    return namespaces.map(fromProto)
  }

  async setLabels(
    ctx: Context,
    name: string,
    labels: Labels,
    { replace = false }: LabelOptions = {},
  ): Promise<void> {
    const paths = replace ? [] : Object.keys(labels).map((key) => `labels.${key}`)
    // A request that names no label replaces all of them.
    if (paths.length === 0 && !replace) return
    const request = { namespace: { name, labels: { ...labels } }, updateMask: { paths } }
    await this.#client.update(request, callOptions(ctx))
  }

  async delete(ctx: Context, name: string): Promise<void> {
    await this.#client.delete({ name }, callOptions(ctx))
  }
}

const fromProto = ({ name, labels }: NamespaceMessage): Namespace => ({ name, labels })
