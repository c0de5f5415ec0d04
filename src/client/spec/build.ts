import { type Any, jsonTypes } from '#core/any/any.ts'
import type { ImageConfig } from '#core/images/oci.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

import { defaultEnv, defaultSpec } from './defaults.ts'
import { envEntries, mergeEnv } from './env.ts'
import type { Process, Resources, Spec, SpecMount } from './types.ts'
import { parseUser } from './user.ts'

/** What a caller can say of a process. */
export interface ProcessOptions {
  /** Instead of the image's command; its entry point stays before them. */
  readonly args?: readonly string[]
  /** On top of the image's. */
  readonly env?: Readonly<Record<string, string>> | readonly string[]
  /** Working directory, instead of the image's. */
  readonly cwd?: string
  /** `uid` or `uid:gid`, instead of the image's. */
  readonly user?: string
  /** Give it a terminal: one stream, which is a tty inside. */
  readonly terminal?: boolean
}

/** What a caller can say of a container. */
export interface SpecOptions extends ProcessOptions {
  readonly hostname?: string
  /** Added to the default ones. */
  readonly mounts?: readonly SpecMount[]
  readonly readonlyRootfs?: boolean
  /** Use the network of the host. */
  readonly hostNetwork?: boolean
  /** Limits; each is added to the default resources. */
  readonly resources?: Omit<Resources, 'devices'>
  /** Has the last word. */
  readonly change?: (spec: Spec) => Spec
}

/** Builds the spec of container `id` in `namespace`. @throws `invalid_argument` without arguments. */
export function buildSpec(
  container: { readonly namespace: string; readonly id: string },
  image: ImageConfig | undefined,
  options: SpecOptions = {},
): Spec {
  const base = defaultSpec(container.namespace, container.id)
  const { hostname, mounts = [], readonlyRootfs, hostNetwork, resources, change } = options
  const namespaces = base.linux.namespaces.filter((ns) => !hostNetwork || ns.type !== 'network')
  const spec: Spec = {
    ...base,
    process: { ...base.process, ...processOf(image, options) },
    root: readonlyRootfs ? { ...base.root, readonly: true } : base.root,
    ...(hostname !== undefined && { hostname }),
    mounts: [...base.mounts, ...mounts],
    linux: {
      ...base.linux,
      namespaces,
      resources: { ...base.linux.resources, ...resources },
    },
  }
  const changed = change ? change(spec) : spec
  if (changed.process.args.length === 0) throw invalidArgument('no arguments specified')
  return changed
}

/** A process to add to a container made from `spec`. */
export function buildProcess(spec: Process, options: ProcessOptions): Process {
  const { args = spec.args, env = [], cwd = spec.cwd, user, terminal = false } = options
  if (args.length === 0) throw invalidArgument('no arguments specified')
  return {
    ...spec,
    terminal,
    args,
    env: mergeEnv(spec.env, envEntries(env)),
    cwd,
    user: user === undefined ? spec.user : parseUser(user),
  }
}

/** A spec as it is stored and sent. */
export const packSpec = (spec: Spec): Any => ({
  typeUrl: jsonTypes.spec,
  value: Buffer.from(JSON.stringify(spec)),
})

/** A process as it is sent. */
export const packProcess = (process: Process): Any => ({
  typeUrl: jsonTypes.process,
  value: Buffer.from(JSON.stringify(process)),
})

function processOf(image: ImageConfig | undefined, options: ProcessOptions): Partial<Process> {
  const imageEnv = image && image.env.length > 0 ? image.env : defaultEnv
  const command = options.args && options.args.length > 0 ? options.args : (image?.cmd ?? [])
  return {
    args: [...(image?.entrypoint ?? []), ...command],
    env: mergeEnv(imageEnv, envEntries(options.env ?? [])),
    cwd: options.cwd ?? (image?.workingDir || '/'),
    user: parseUser(options.user ?? image?.user ?? ''),
    ...(options.terminal && { terminal: true }),
  }
}
