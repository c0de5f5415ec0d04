import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { isErrno } from '#sys/errno.ts'

import { writeFile } from './write-file.ts'

/**
 * What a shim keeps in a bundle for whoever comes after it. Source: upstream `runc/container.go`.
 *
 *     init.pid       written by the OCI runtime
 *     <exec>.pid     likewise, for an exec
 *     options.json   the runtime options
 *     runtime        the name of the OCI runtime, empty for runc
 *     log.json       the log of the OCI runtime
 *     address        the socket of the shim host
 *     bootstrap.json the same, written by the daemon; alone where nothing was started for the bundle
 *     sandbox        the sandbox that the container has joined, written by the daemon
 */
export interface RuntimeOptions {
  readonly noPivotRoot: boolean
  readonly noNewKeyring: boolean
  readonly binaryName: string
  /** Below which directory the OCI runtime keeps its state, per namespace. */
  readonly root: string
  readonly systemdCgroup: boolean
  /** Who owns the process's streams; 0 leaves that to the OCI runtime. */
  readonly ioUid: number
  readonly ioGid: number
  /** A checkpoint to restore from, as clients before 1.7 say it; the daemon reads it. */
  readonly criuImagePath: string
  /** Where criu logs; the container's work directory if empty. */
  readonly criuWorkPath: string
  /** The control group that the host is in: it was started for those who ask for the same one. */
  readonly shimCgroup: string
}

/** Where upstream's shim has the state of the OCI runtime, whatever the daemon's own state. */
const defaultRoot = '/run/containerd/runc'

/** The options that hold when the client gave none; `WHARF_RUNC_ROOT` moves the root. */
export const defaultOptions = (env: NodeJS.ProcessEnv): RuntimeOptions => ({
  noPivotRoot: false,
  noNewKeyring: false,
  binaryName: '',
  root: env['WHARF_RUNC_ROOT'] || defaultRoot,
  systemdCgroup: false,
  ioUid: 0,
  ioGid: 0,
  criuImagePath: '',
  criuWorkPath: '',
  shimCgroup: '',
})

/** Go leaves out what is empty, and reads the names of the protobuf fields. */
interface StoredOptions {
  readonly no_pivot_root?: boolean
  readonly no_new_keyring?: boolean
  readonly binary_name?: string
  readonly root?: string
  readonly systemd_cgroup?: boolean
  readonly io_uid?: number
  readonly io_gid?: number
  readonly criu_image_path?: string
  readonly criu_work_path?: string
  readonly shim_cgroup?: string
}

/** Records the options a container is made with. */
export function writeOptions(bundle: string, options: RuntimeOptions): void {
  const stored: StoredOptions = {
    ...(options.noPivotRoot ? { no_pivot_root: true } : {}),
    ...(options.noNewKeyring ? { no_new_keyring: true } : {}),
    ...(options.binaryName ? { binary_name: options.binaryName } : {}),
    root: options.root,
    ...(options.systemdCgroup ? { systemd_cgroup: true } : {}),
    ...(options.ioUid ? { io_uid: options.ioUid } : {}),
    ...(options.ioGid ? { io_gid: options.ioGid } : {}),
    ...(options.criuImagePath ? { criu_image_path: options.criuImagePath } : {}),
    ...(options.criuWorkPath ? { criu_work_path: options.criuWorkPath } : {}),
    ...(options.shimCgroup ? { shim_cgroup: options.shimCgroup } : {}),
  }
  writeFile(join(bundle, 'options.json'), JSON.stringify(stored))
  writeFile(join(bundle, 'runtime'), options.binaryName)
}

/** The options of a container, also one that another shim made; defaults when there are none. */
export function readOptions(bundle: string, env: NodeJS.ProcessEnv): RuntimeOptions {
  const stored: StoredOptions = JSON.parse(readText(join(bundle, 'options.json')) || '{}')
  const defaults = defaultOptions(env)
  return {
    noPivotRoot: stored.no_pivot_root ?? false,
    noNewKeyring: stored.no_new_keyring ?? false,
    binaryName: stored.binary_name || readText(join(bundle, 'runtime')),
    root: stored.root || defaults.root,
    systemdCgroup: stored.systemd_cgroup ?? false,
    ioUid: stored.io_uid ?? 0,
    ioGid: stored.io_gid ?? 0,
    criuImagePath: stored.criu_image_path ?? '',
    criuWorkPath: stored.criu_work_path ?? '',
    shimCgroup: stored.shim_cgroup ?? '',
  }
}

/** The pid in a file the OCI runtime wrote; 0 when there is none. */
export const readPid = (path: string): number => Number(readText(path)) || 0

/** The sandbox that a container has joined; empty for none. */
export const readSandbox = (bundle: string): string => readText(join(bundle, 'sandbox'))

/** The path of the socket of the host that serves a bundle; nothing while none was started for it. */
export function socketOf(bundle: string): string | undefined {
  const address = readText(join(bundle, 'address')) || bootstrapAddress(bundle)
  return address.startsWith('unix:///') ? address.slice('unix://'.length) : undefined
}

function bootstrapAddress(bundle: string): string {
  try {
    const { address }: { readonly address?: unknown } = JSON.parse(
      readText(join(bundle, 'bootstrap.json')) || '{}',
    )
    return typeof address === 'string' ? address : ''
  } catch {
    // One that is just being removed, or that a power cut has left: it is nobody's.
    return ''
  }
}

export const initPidFile = (bundle: string): string => join(bundle, 'init.pid')
export const execPidFile = (bundle: string, execId: string): string => join(bundle, `${execId}.pid`)

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (err) {
    if (isErrno(err, 'ENOENT')) return ''
    throw err
  }
}

interface SpecNamespaces {
  readonly linux?: {
    readonly namespaces?: readonly { readonly type: string; readonly path?: string }[]
  }
}

/**
 * Whether ending the container's init leaves its other processes running: they do not share a pid
 * namespace of their own. Source: upstream `runc/util.go` (`ShouldKillAllOnExit`).
 */
export function sharesPidNamespace(bundle: string): boolean {
  const spec: SpecNamespaces = JSON.parse(readFileSync(join(bundle, 'config.json'), 'utf8'))
  const namespaces = spec.linux?.namespaces ?? []
  return !namespaces.some(({ type, path }) => type === 'pid' && !path)
}
