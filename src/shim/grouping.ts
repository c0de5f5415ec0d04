import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

import { invalidArgument } from '#lib/errors/errors.ts'

const isolations = ['namespace', 'sandbox', 'container'] as const

/**
 * Which containers share a shim host: all of a namespace, those of a sandbox (as upstream has it),
 * or none. Chosen by the environment variable `WHARF_SHIM_ISOLATION`.
 */
export type Isolation = (typeof isolations)[number]

/** The annotations that name a group, the first one wins. Source: upstream `manager_linux.go`. */
const groupAnnotations = ['io.containerd.runc.v2.group', 'io.kubernetes.cri.sandbox-id']

/** No identifier can contain `@`, so it is no container's. */
const wholeNamespace = '@namespace'

/** The isolation that `env` asks for. @throws `invalid_argument` */
export function isolationOf(env: NodeJS.ProcessEnv): Isolation {
  const asked = env['WHARF_SHIM_ISOLATION'] || 'namespace'
  const found = isolations.find((each) => each === asked)
  if (found === undefined) {
    throw invalidArgument(`shim isolation "${asked}" is none of ${isolations.join(', ')}`)
  }
  return found
}

/**
 * The name of the group that the container `id` with the given bundle belongs to. Hosts that shall
 * be in different control groups are different ones.
 */
export function groupOf(
  id: string,
  bundle: string,
  { isolation, shimCgroup }: { readonly isolation: Isolation; readonly shimCgroup: string },
): string {
  const group = groupIn(id, bundle, isolation)
  return shimCgroup === '' ? group : `${group}@${shimCgroup}`
}

function groupIn(id: string, bundle: string, isolation: Isolation): string {
  if (isolation === 'namespace') return wholeNamespace
  if (isolation === 'container') return id
  const annotations = readAnnotations(bundle)
  for (const name of groupAnnotations) {
    const group = annotations[name]
    if (typeof group === 'string') return group
  }
  return id
}

/** The bundle of a sandbox may have no spec. */
function readAnnotations(bundle: string): Readonly<Record<string, unknown>> {
  if (!existsSync(join(bundle, 'config.json'))) return {}
  const spec: { readonly annotations?: Readonly<Record<string, unknown>> } = JSON.parse(
    readFileSync(join(bundle, 'config.json'), 'utf8'),
  )
  return spec.annotations ?? {}
}
