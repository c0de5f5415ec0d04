import { accessSync, constants, statSync } from 'node:fs'
import { delimiter, dirname, isAbsolute, join, resolve } from 'node:path'

import type { RuntimeSettings } from './settings.ts'

/** The built-in host's own runtime name. */
export const builtinRuntime = 'io.containerd.wharf.v1'
/** What nearly every client asks for. */
export const defaultRuntime = 'io.containerd.runc.v2'

/**
 * Finds the shim of a runtime: an absolute path is taken as it is, a name `….<name>.<version>`
 * means `containerd-shim-<name>-<version>`, looked for in the working directory, in PATH, and next
 * to the daemon.
 *
 * Source: upstream `core/runtime/v2/shim_manager.go`.
 * @throws {Error} without a code, as containerd does, when there is none.
 */
export function resolveRuntime(runtime: string, settings: RuntimeSettings): string {
  if (runtime === '') throw new Error('no runtime name')
  if (isAbsolute(runtime)) return checkCustom(runtime)
  if (runtime === builtinRuntime) return settings.hostBinary
  if (runtime === defaultRuntime && settings.builtinShim) return settings.hostBinary

  const name = runtime.includes('/') ? undefined : binaryName(runtime)
  if (name === undefined) {
    throw new Error(
      `invalid runtime name ${runtime}, correct runtime name should be either format like ` +
        '`io.containerd.runc.v2` or a full path to the binary',
    )
  }
  const path = search(name, settings)
  if (path !== undefined) return path
  const quoted = `${JSON.stringify(runtime)} binary not installed ${JSON.stringify(name)}`
  throw new Error(`runtime ${quoted}: file does not exist`)
}

function checkCustom(path: string): string {
  if (exists(path)) return path
  throw new Error(`invalid custom binary path: stat ${path}: no such file or directory`)
}

function binaryName(runtime: string): string | undefined {
  const parts = runtime.split('.')
  if (parts.length < 2 || parts[0] === '') return undefined
  return `containerd-shim-${parts.at(-2)}-${parts.at(-1)}`
}

function search(name: string, settings: RuntimeSettings): string | undefined {
  const here = resolve(name)
  if (exists(here)) return here
  for (const dir of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = resolve(dir || '.', name)
    if (isExecutable(path)) return path
  }
  const beside = join(dirname(settings.daemonBinary), name)
  return exists(beside) ? beside : undefined
}

const exists = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined

function isExecutable(path: string): boolean {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return false
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
