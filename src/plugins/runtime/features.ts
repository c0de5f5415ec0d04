import { fromBinary } from '@bufbuild/protobuf'

import type { Any } from '#core/any/any.ts'
import { RuntimeInfoSchema } from '#gen/types/introspection_pb.ts'
import { describe } from '#lib/errors/errors.ts'

/*
 * runc and its like pass over what they do not know in a spec. For id-mapped mounts that would give
 * a container the wrong files, so the runtime is asked first whether it knows them.
 *
 * Source: upstream `core/runtime/v2/task_manager.go`, runtime-spec `features.md`.
 */

interface SpecMounts {
  readonly mounts?: readonly {
    readonly options?: readonly string[]
    readonly uidMappings?: unknown
    readonly gidMappings?: unknown
  }[]
}

interface Features {
  readonly linux?: {
    readonly mountExtensions?: { readonly idmap?: { readonly enabled?: boolean } }
  }
}

const featuresType = 'types.containerd.io/opencontainers/runtime-spec/1/features/Features'

/** Whether a spec has id-mapped mounts. */
export function usesIdMappedMounts(spec: Any): boolean {
  const bytes = Buffer.from(spec.value.buffer, spec.value.byteOffset, spec.value.length)
  // Most specs have neither word: they need not be parsed.
  if (!['idmap', 'idMappings'].some((word) => bytes.includes(word))) return false
  const { mounts = [] } = parse(bytes)
  return mounts.some(
    ({ options = [], uidMappings, gidMappings }) =>
      uidMappings !== undefined ||
      gidMappings !== undefined ||
      options.includes('idmap') ||
      options.includes('ridmap'),
  )
}

/**
 * Checks that a runtime, by its `RuntimeInfo`, maps the ids of mounts. Runtimes that list no
 * features are not runc's like, and are left alone.
 *
 * @throws {Error} when it does not.
 */
export function requireIdMappedMounts(info: Any): void {
  const { features } = fromBinary(RuntimeInfoSchema, info.value)
  if (features?.typeUrl !== featuresType) return
  const idmap = parse(features.value).linux?.mountExtensions?.idmap
  if (!idmap) {
    throw new Error(
      'idmap mounts not supported: missing `mountExtensions.idmap` entry in `features` command',
    )
  }
  if (idmap.enabled === true) return
  throw new Error(
    'idmap mounts not supported: entry `mountExtensions.idmap.Enabled` in `features` command ' +
      'not present or disabled',
  )
}

function parse(bytes: Uint8Array): SpecMounts & Features {
  try {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- parsed input; all of it is optional
    return JSON.parse(new TextDecoder().decode(bytes)) as SpecMounts & Features
  } catch (err) {
    throw new Error(`cannot parse JSON: ${describe(err)}`, { cause: err })
  }
}
