import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'
import { readFileSync } from 'node:fs'

import { RuntimeInfoSchema } from '#gen/types/introspection_pb.ts'
import { OptionsSchema } from '#gen/types/runc-options_pb.ts'
import { packageVersion } from '#lib/release/release.ts'

import { run } from './runc/command.ts'

const name = 'containerd-shim-wharf-v1'
const featuresType = 'types.containerd.io/opencontainers/runtime-spec/1/features/Features'

/** What `-v` prints. */
export function versionText(): string {
  return `${name}:\n  Version:  ${packageVersion}\n  Node:     ${process.version}\n`
}

/** What `-info` prints, given options on stdin: a serialised `RuntimeInfo`. */
export async function runtimeInfo(): Promise<Uint8Array> {
  const input = readFileSync(0)
  const options = input.length > 0 ? fromBinary(AnySchema, input) : undefined
  const binary = options?.typeUrl.endsWith(OptionsSchema.typeName)
    ? fromBinary(OptionsSchema, options.value).binaryName
    : ''
  const features = await readFeatures(binary || 'runc')
  const info = create(RuntimeInfoSchema, {
    name: 'io.containerd.wharf.v1',
    version: { version: packageVersion },
    ...(options ? { options } : {}),
    ...(features ? { features } : {}),
  })
  return toBinary(RuntimeInfoSchema, info)
}

/** Runtimes from before the command was specified do not know it. */
async function readFeatures(
  binary: string,
): Promise<{ typeUrl: string; value: Uint8Array } | undefined> {
  try {
    return { typeUrl: featuresType, value: Buffer.from(await run(binary, ['features'])) }
  } catch {
    return undefined
  }
}
