import { Command, Option } from 'commander'

import { addressOption } from '#cli/daemon-options.ts'
import { followEvents } from '#client/follow.ts'
import type { Followed, From } from '#core/events/events.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'

import { followedJson, followedText } from './event-text.ts'

interface Flags {
  readonly address: string
  readonly after?: string
  readonly oldest?: true
  readonly json?: true
}

const help = `
A line for each event: its cursor, time, namespace and topic, and what it is about. Events that are
missing are told on standard error, or with --json as an object with "gap". When the daemon ends, the
one that comes next is followed.

A FILTER is containerd's: topic~="^/tasks/", namespace==default, event.container_id==web. Several mean
any of them.

Exit code: 0 when it is interrupted; 1 when something failed; 2 for bad usage.`

/** `wharf events`: what happens in a daemon, and what has happened. */
export function eventsCommand(): Command {
  const after = new Option('--after <cursor>', 'go on behind this event')
  return new Command('events')
    .description('show what happens in a daemon, and what has happened')
    .argument('[filter...]', 'only events that match')
    .addOption(addressOption())
    .addOption(after.conflicts('oldest'))
    .option('--oldest', 'begin with the oldest event that is kept')
    .option('--json', 'one JSON object on a line; also for places without an event')
    .addHelpText('after', help)
    .exitOverride()
    .action(async (filters: string[], flags: Flags) => await events(filters, flags))
}

async function events(filters: readonly string[], flags: Flags): Promise<void> {
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  // The write tells of its own error.
  process.stdout.on('error', () => {})
  const { signal } = stop
  try {
    for await (const next of followEvents(flags.address, {
      from: fromOf(flags),
      filters,
      signal,
    })) {
      await print(next, flags.json === true)
    }
  } catch (err) {
    // Nobody reads any more.
    if (!hasErrno(err, 'EPIPE')) throw err
  }
}

function fromOf({ after, oldest }: Flags): From {
  if (after !== undefined) return { after }
  return oldest ? 'oldest' : 'now'
}

async function print(followed: Followed, json: boolean): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const { to, text } = json
    ? { to: 'stdout', text: followedJson(followed) }
    : followedText(followed)
  process[to === 'stderr' ? 'stderr' : 'stdout'].write(text, (err) => {
    if (err) reject(err)
    else resolve()
  })
  await promise
}
