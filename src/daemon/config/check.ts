import { invalidArgument } from '#lib/errors/errors.ts'
import { logFormats, logLevels } from '#daemon/log.ts'

import type { Config, UnknownKey } from './config.ts'

/** Checks what no single value shows. @throws `invalid_argument`, in containerd's words. */
export function checkSettings(config: Config): void {
  const { root, state, requiredPlugins, disabledPlugins, debug, strict } = config
  if (root === '') throw invalidArgument('root must be specified')
  if (state === '') throw invalidArgument('state must be specified')
  if (root === state) throw invalidArgument('root and state must be different paths')
  for (const uri of disabledPlugins) checkUri(uri, 'disabled')
  for (const uri of requiredPlugins) checkUri(uri, 'required')
  if (debug.level !== '' && !logLevels.some((level) => level === debug.level)) {
    throw invalidArgument(`debug.level: not a valid logrus Level: "${debug.level}"`)
  }
  if (debug.format !== '' && !logFormats.some((format) => format === debug.format)) {
    throw invalidArgument(`debug.format: unknown log format: ${debug.format}`)
  }
  if (strict) refuseUnknownKeys(config.unknownKeys)
}

function checkUri(uri: string, list: string): void {
  if (uri.includes('.')) return
  throw invalidArgument(`invalid ${list} plugin URI "${uri}" expect io.containerd.x.vx`)
}

/** @throws `invalid_argument` naming every unknown key, if there is one. */
export function refuseUnknownKeys(keys: readonly UnknownKey[]): void {
  if (keys.length > 0) throw invalidArgument(keys.map(unknownKeyText).join('\n'))
}

/** One unknown key, as a sentence. */
export function unknownKeyText({ key, file, line, nearest }: UnknownKey): string {
  const at = line === undefined ? '' : `, line ${line}`
  const hint = nearest === undefined ? '' : `; did you mean ${nearest}?`
  return `config file "${file}"${at}: unknown key ${key}${hint}`
}
