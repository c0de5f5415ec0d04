import { isAsyncIterable } from '#lib/async/is-async-iterable.ts'
import { type CodedError, permissionDenied } from '#lib/errors/errors.ts'
import type { Call, Interceptor } from '#lib/rpc/rpc.ts'
import type { RpcContext } from '#plugins/types.ts'

import { mutates } from './methods.ts'
import type { Role } from './role.ts'

/** Services and methods that tell about the daemon and belong to no namespace. */
const general: readonly string[] = [
  'containerd.services.introspection.v1.Introspection/Plugins',
  'containerd.services.introspection.v1.Introspection/Server',
  'containerd.services.version.v1.Version/Version',
  'grpc.health.v1.Health/Check',
  'grpc.health.v1.Health/List',
  'grpc.health.v1.Health/Watch',
]
/** Runs a program that the request names, for no namespace. */
const pluginInfo = 'containerd.services.introspection.v1.Introspection/PluginInfo'
const namespacesService = 'containerd.services.namespaces.v1.Namespaces/'
const subscribe = 'containerd.services.events.v1.Events/Subscribe'
const forward = 'containerd.services.events.v1.Events/Forward'
const listNamespaces = `${namespacesService}List`

/**
 * Lets the calls pass that `role` permits. The others never reach their method: they are answered
 * with `permission_denied`, which names the listener and the rule.
 */
export function guard(role: Role, address: string): Interceptor<RpcContext> {
  const denied = (call: Call, why: string): CodedError =>
    permissionDenied(
      `${pathOf(call)} is not allowed on ${address}, whose role is ${role.rule}: ${why}`,
    )
  return (call, ctx, next, input) => {
    const { service, method } = call
    if (role.readOnly && mutates(method))
      throw denied(call, 'the method is not one that only reads')
    if (role.services && !role.services.includes(service.typeName)) {
      throw denied(call, `the service is not among them`)
    }
    const { namespaces } = role
    if (!namespaces) return next(ctx)
    const path = pathOf(call)
    if (general.includes(path)) return next(ctx)
    const named = namespaceIn(path, ctx, input)
    if (named !== undefined && !namespaces.includes(named)) {
      throw denied(call, `the namespace "${named}" is not among them`)
    }
    if (path === listNamespaces || path === subscribe) {
      return filtered(next(ctx), (name) => namespaces.includes(name))
    }
    if (path === pluginInfo || named === undefined) {
      throw denied(call, 'it belongs to no namespace')
    }
    return next(ctx)
  }
}

const pathOf = ({ service, method }: Call): string => `${service.typeName}/${method.name}`

/** Whose names a call means: mostly the caller's header, here and there a field of the request. */
function namespaceIn(path: string, { namespace }: RpcContext, input: unknown): string | undefined {
  if (path === forward) return text(field(field(input, 'envelope'), 'namespace'))
  if (path === listNamespaces || path === subscribe) return undefined
  if (!path.startsWith(namespacesService)) return namespace
  return text(field(input, 'name')) ?? text(field(field(input, 'namespace'), 'name'))
}

/** What `result` says of permitted namespaces: the list of them, or the events in them. */
async function* eventsOf(events: AsyncIterable<unknown>, allowed: Allowed): AsyncGenerator {
  for await (const event of events) {
    if (allowed(text(field(event, 'namespace')) ?? '')) yield event
  }
}

type Allowed = (namespace: string) => boolean

function filtered(result: unknown, allowed: Allowed): unknown {
  if (isAsyncIterable(result)) return eventsOf(result, allowed)
  return Promise.resolve(result).then((reply) => {
    if (isAsyncIterable(reply)) return eventsOf(reply, allowed)
    const namespaces = field(reply, 'namespaces')
    if (!Array.isArray(namespaces)) return { namespaces: [] }
    return { namespaces: namespaces.filter((each) => allowed(text(field(each, 'name')) ?? '')) }
  })
}

const field = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined

const text = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined
