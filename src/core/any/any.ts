/**
 * A value of a type that only its reader knows: `google.protobuf.Any`, kept as bytes.
 *
 * `typeUrl` is containerd's bare form (`containerd.runc.v1.Options`), or a path for JSON values
 * (`types.containerd.io/opencontainers/runtime-spec/1/Spec`).
 */
export interface Any {
  readonly typeUrl: string
  readonly value: Uint8Array
}

/** Type URLs of values that travel as JSON. Source: upstream `pkg/oci`, `typeurl`. */
export const jsonTypes = {
  spec: 'types.containerd.io/opencontainers/runtime-spec/1/Spec',
  process: 'types.containerd.io/opencontainers/runtime-spec/1/Process',
  linuxResources: 'types.containerd.io/opencontainers/runtime-spec/1/LinuxResources',
} as const
