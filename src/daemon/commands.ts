import { buffer } from 'node:stream/consumers'

import { invalidArgument } from '#lib/errors/errors.ts'
import { publishEvent } from '#plugins/events/publish.ts'

import { builtins } from './builtins.ts'
import { loadCatalog } from './catalog.ts'
import { refuseUnknownKeys } from './config/check.ts'
import type { Config } from './config/config.ts'
import { decodeConfig } from './config/decode.ts'
import { defaultAddress } from './config/default.ts'
import { dumpConfig, dumpDefault } from './config/dump.ts'
import { explain, explanationText } from './config/explain.ts'
import { configure, readConfig } from './config/load.ts'
import type { Flags } from './flags.ts'
import { createLogger } from './log.ts'
import { ociHook } from './oci-hook.ts'

/**
 * Runs a command other than serving. @returns what to print.
 *
 * @throws `invalid_argument` for a command that there is not; whatever the command fails with.
 */
export async function runCommand(flags: Flags): Promise<string> {
  const [word = '', ...rest] = flags.words
  if (word === 'config') return await configCommand(flags, rest)
  if (word === 'publish') return await publish(flags)
  if (word === 'oci-hook') return await ociHook(rest)
  throw invalidArgument(`unknown command "${word}"; see wharfd --help`)
}

async function configCommand(flags: Flags, words: readonly string[]): Promise<string> {
  const [word = '', argument = ''] = words
  switch (word) {
    case 'default':
      return dumpDefault(configure({ version: 4 }, builtins))
    case 'dump':
    case 'migrate':
      return dumpConfig(await load(flags.config, flags))
    case 'check':
      return await check(flags, argument)
    case 'explain':
      return await explainCommand(flags, argument)
    default:
      throw invalidArgument(`unknown command "config ${word}"; see wharfd --help`)
  }
}

async function load(path: string | undefined, { overrides }: Flags): Promise<Config> {
  const source = await readConfig(path, overrides)
  const log = createLogger({ level: 'warn', format: 'text', traceId: false }, process.stderr)
  return decodeConfig(source, await loadCatalog(source, log))
}

async function check(flags: Flags, file: string): Promise<string> {
  const path = file === '' ? flags.config : file
  const config = await load(path, flags)
  refuseUnknownKeys(config.unknownKeys)
  return config.files.map((read) => `${read.path}: good, version ${read.version}\n`).join('')
}

async function explainCommand(flags: Flags, key: string): Promise<string> {
  if (key === '') throw invalidArgument('config explain needs a key')
  const config = await load(flags.config, flags)
  return explain(key, config).map(explanationText).join('\n')
}

/** Publishes the event on standard input: how shims of old report, through `-publish-binary`. */
async function publish({ topic, namespace, overrides }: Flags): Promise<string> {
  if (topic === '') throw invalidArgument('topic required to publish event')
  const address = overrides.address ?? defaultAddress
  const signal = AbortSignal.timeout(publishMs)
  await publishEvent({ address, namespace, topic, event: await buffer(process.stdin), signal })
  return ''
}

/** As long as a daemon that is just starting may take to answer. */
const publishMs = 10_000
