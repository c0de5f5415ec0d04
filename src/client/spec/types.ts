/*
 * The parts of an OCI runtime spec that this client writes. Names are the spec's own, since this is
 * what becomes JSON. Source: OCI runtime-spec `config.md`, `config-linux.md`.
 */

/** What an OCI runtime is told: `config.json`. */
export interface Spec {
  readonly ociVersion: string
  readonly process: Process
  readonly root: { readonly path: string; readonly readonly?: boolean }
  readonly hostname?: string
  readonly mounts: readonly SpecMount[]
  readonly annotations?: Readonly<Record<string, string>>
  readonly linux: Linux
}

/** A process, the first of a container or one that is added. */
export interface Process {
  readonly terminal?: boolean
  readonly user: User
  readonly args: readonly string[]
  readonly env: readonly string[]
  readonly cwd: string
  readonly capabilities?: Capabilities
  readonly rlimits?: readonly Rlimit[]
  readonly noNewPrivileges?: boolean
}

/** Whom a process runs as, by number. */
export interface User {
  readonly uid: number
  readonly gid: number
  readonly additionalGids?: readonly number[]
}

/** What a process may do beyond an ordinary user, as `CAP_…` names. */
export interface Capabilities {
  readonly bounding: readonly string[]
  readonly effective: readonly string[]
  readonly permitted: readonly string[]
}

/** One resource limit, as `RLIMIT_…`. */
export interface Rlimit {
  readonly type: string
  readonly hard: number
  readonly soft: number
}

/** Something that is mounted inside the container. */
export interface SpecMount {
  readonly destination: string
  readonly type: string
  readonly source: string
  readonly options: readonly string[]
}

/** What only Linux has. */
export interface Linux {
  readonly maskedPaths: readonly string[]
  readonly readonlyPaths: readonly string[]
  readonly cgroupsPath: string
  readonly resources: Resources
  readonly namespaces: readonly LinuxNamespace[]
}

/** A namespace the container has for itself, or shares. */
export interface LinuxNamespace {
  readonly type: 'pid' | 'ipc' | 'uts' | 'mount' | 'network' | 'user' | 'cgroup'
  /** Of one that exists; a new one without it. */
  readonly path?: string
}

/** What the container may use. Memory in bytes, CPU times in µs. */
export interface Resources {
  readonly devices: readonly DeviceRule[]
  readonly memory?: { readonly limit: number }
  readonly pids?: { readonly limit: number }
  readonly cpu?: { readonly quota?: number; readonly period?: number; readonly shares?: number }
}

/** Which devices may be read, written (`rw`) or made (`m`); later rules win. */
export interface DeviceRule {
  readonly allow: boolean
  readonly type?: 'a' | 'b' | 'c'
  /** Without it, every number. */
  readonly major?: number
  readonly minor?: number
  readonly access: string
}
