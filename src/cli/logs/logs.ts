import { Command, InvalidArgumentError } from 'commander'

import { addressOption, namespaceOption } from '#cli/daemon-options.ts'
import { connect } from '#client/connect.ts'
import { type ReadLogOptions, readLog } from '#client/logs/read-log.ts'
import { type LogEntry, isJsonFileUri, parseJsonFileUri } from '#core/logs/json-file.ts'

import { parseMoment } from './moment.ts'
import { printEntries } from './print-entries.ts'

interface LogsFlags {
  readonly address: string
  readonly namespace: string
  readonly follow?: boolean
  readonly since?: Date
  readonly until?: Date
  readonly tail?: number
  readonly json?: boolean
  readonly timestamps?: boolean
  readonly file?: boolean
}

const help = `
Reads what the log driver json-file has written, as a container has it that was started with
  --log-uri 'json-file:///var/log/web.log?max-size=10m&max-file=3'

A TIME is a moment (2026-11-26T17:33:54Z), seconds since 1970, or how long ago (10m, 1h30m).
Exit code: 0; 1 when something failed; 2 for bad usage.`

/** `wharf logs`: what a container has written, and goes on writing. */
export function logsCommand(): Command {
  return new Command('logs')
    .description('show what a container has written')
    .argument('<container>', 'its id; with --file the path of a log, or its URI')
    .addOption(addressOption())
    .addOption(namespaceOption('whose container it is'))
    .option('-f, --follow', 'go on until the container ends')
    .option('--since <time>', 'nothing from before', moment)
    .option('--until <time>', 'nothing from after', moment)
    .option('--tail <n>', 'the last lines of what is there, or "all"', tail)
    .option('-t, --timestamps', 'put the time before each line')
    .option('--json', 'the entries, one JSON object on a line')
    .option('--file', 'read a log without asking a daemon')
    .addHelpText('after', help)
    .exitOverride()
    .action(async (container: string, flags: LogsFlags) => await logs(container, flags))
}

async function logs(container: string, flags: LogsFlags): Promise<void> {
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  const { follow = false, since, until, tail: last } = flags
  const options: ReadLogOptions = {
    follow,
    signal: stop.signal,
    ...(since && { since }),
    ...(until && { until }),
    ...(last !== undefined && { tail: last }),
  }
  const { json = false, timestamps = false } = flags
  try {
    await printEntries(entries(container, flags, options), { json, timestamps })
  } catch (err) {
    if (!stop.signal.aborted) throw err
  }
}

async function* entries(
  container: string,
  { address, namespace, file }: LogsFlags,
  options: ReadLogOptions,
): AsyncGenerator<LogEntry, void, undefined> {
  if (file) {
    yield* readLog(pathOf(container), options)
    return
  }
  await using client = await connect(address, { namespace, ...options })
  yield* (await client.containers.get(container, options)).logs(options)
}

const pathOf = (log: string): string => (isJsonFileUri(log) ? parseJsonFileUri(log).path : log)

function moment(text: string): Date {
  const date = parseMoment(text, Date.now())
  if (!date) throw new InvalidArgumentError('It is no TIME: see below.')
  return date
}

function tail(text: string): number | undefined {
  if (text === 'all') return undefined
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError('It is neither a number nor "all".')
  return Number(text)
}
