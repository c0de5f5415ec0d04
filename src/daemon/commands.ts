import { buffer } from 'node:stream/consumers'

import { invalidArgument, unimplemented } from '#lib/errors/errors.ts'

import { builtins } from './builtins.ts'
import { refuseUnknownKeys } from './config/check.ts'
import { defaultAddress } from './config/default.ts'
import { dumpConfig, dumpDefault } from './config/dump.ts'
import { explain, explanationText } from './config/explain.ts'
import { configure, loadConfig } from './config/load.ts'
import type { Flags } from './flags.ts'

/**
 * Runs a command other than serving. @returns what to print.
 *
 * @throws `invalid_argument` for a command that there is not; whatever the command fails with.
 */
export async function runCommand(flags: Flags): Promise<string> {
  const [word = '', ...rest] = flags.words
  if (word === 'config') return await configCommand(flags, rest)
  if (word === 'publish') return await publish(flags)
  if (word === 'oci-hook') {
    throw unimplemented('oci-hook is not built yet in wharf: call the hook program directly')
  }
  throw invalidArgument(`unknown command "${word}"; see wharfd --help`)
}

async function configCommand(flags: Flags, words: readonly string[]): Promise<string> {
  const [word = '', argument = ''] = words
  switch (word) {
    case 'default':
      return dumpDefault(configure({ version: 4 }, builtins))
    case 'dump':
    case 'migrate':
      return dumpConfig(await loadConfig(flags.config, builtins, flags.overrides))
    case 'check':
      return await check(flags, argument)
    case 'explain':
      return await explainCommand(flags, argument)
    default:
      throw invalidArgument(`unknown command "config ${word}"; see wharfd --help`)
  }
}

async function check(flags: Flags, file: string): Promise<string> {
  const path = file === '' ? flags.config : file
  const config = await loadConfig(path, builtins)
  refuseUnknownKeys(config.unknownKeys)
  return config.files.map((read) => `${read.path}: good, version ${read.version}\n`).join('')
}

async function explainCommand(flags: Flags, key: string): Promise<string> {
  if (key === '') throw invalidArgument('config explain needs a key')
  const config = await loadConfig(flags.config, builtins, flags.overrides)
  return explain(key, config, builtins).map(explanationText).join('\n')
}

/** Publishes the event on standard input: how shims of old report, through `-publish-binary`. */
async function publish({ topic, namespace, overrides }: Flags): Promise<string> {
  if (topic === '') throw invalidArgument('topic required to publish event')
  const { publishEvent } = await import('#plugins/events/publish.ts')
  const address = overrides.address ?? defaultAddress
  const signal = AbortSignal.timeout(publishMs)
  await publishEvent({ address, namespace, topic, event: await buffer(process.stdin), signal })
  return ''
}

/** As long as a daemon that is just starting may take to answer. */
const publishMs = 10_000
