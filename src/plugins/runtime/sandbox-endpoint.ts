import { existsSync } from 'node:fs'
import { join } from 'node:path'

import type { Context } from '#core/context.ts'
import type { CreateOptions } from '#core/runtime/runtime.ts'
import { hasCode, notFound } from '#lib/errors/errors.ts'

import { type Endpoint, readEndpoint } from './bootstrap.ts'
import type { RuntimeSettings } from './settings.ts'

/** Shims of this generation serve the tasks of a sandbox without a `start` for each. */
const sandboxVersion = 3

/** Where a shim is, and how it is spoken to, as clients are told: `ttrpc+unix:///path`. */
export const formatTaskApi = ({ protocol, address }: Endpoint): string => `${protocol}+${address}`

/**
 * Where the tasks of the sandbox are served that `options` name; undefined when the task needs a
 * shim of its own: it joins no sandbox, one that nobody recorded, or one whose shim is too old.
 *
 * Source: upstream `core/runtime/v2/shim_manager.go`.
 * @throws `not_found` for a sandbox without a shim; {Error} for an address in another form.
 */
export async function sandboxEndpoint(
  ctx: Context,
  namespace: string,
  { sandbox, taskApi }: CreateOptions,
  settings: RuntimeSettings,
): Promise<Endpoint | undefined> {
  if (sandbox === '' || !settings.sandboxes) return undefined
  const { store, state } = settings.sandboxes
  try {
    await store.get({ ...ctx, namespace }, sandbox)
  } catch (err) {
    if (!hasCode(err, 'not_found')) throw err
    ctx.log.warn('sandbox not found, maybe created by an old release', { sandbox })
    return undefined
  }
  const endpoint = taskApi?.address
    ? parseTaskApi(taskApi.address, taskApi.version)
    : recorded(sandbox, namespace, [settings.state, state])
  return endpoint.version < sandboxVersion ? undefined : endpoint
}

function parseTaskApi(text: string, version: number): Endpoint {
  const [, protocol = '', address = ''] = /^([a-z]+)\+(.+)$/s.exec(text) ?? []
  if (protocol !== '') return { protocol, address, version }
  throw new Error(
    `the address of the sandbox "${text}" should be <protocol>+<unix|vsock|tcp>://<address>, ` +
      'as ttrpc+unix:///path',
  )
}

/** A sandbox is a task, as a pause container is, or what a sandbox controller has made. */
function recorded(id: string, namespace: string, states: readonly string[]): Endpoint {
  const bundles = states.map((state) => join(state, namespace, id))
  const bundle = bundles.find((path) =>
    ['bootstrap.json', 'address'].some((name) => existsSync(join(path, name))),
  )
  if (bundle === undefined) throw notFound(`can't find shim for sandbox ${id}`)
  return readEndpoint(bundle)
}
