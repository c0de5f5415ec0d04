import { Command, CommanderError } from 'commander'

import { describe } from '#lib/errors/errors.ts'
import { packageVersion } from '#lib/release/release.ts'

import { doctorCommand } from './doctor/doctor.ts'
import { eventsCommand } from './events/events.ts'
import { imageCommand } from './image/image.ts'
import { pullCommand } from './image/pull.ts'
import { pushCommand } from './image/push.ts'
import { logsCommand } from './logs/logs.ts'

/** Runs `wharf <argv>` and gives its exit code: 0, 1 when something failed or is wrong, 2 for bad usage. */
export async function main(argv: readonly string[]): Promise<number> {
  const program = new Command('wharf')
    .description('The command line of wharf, a container runtime.')
    .version(packageVersion, '-v, --version')
    .exitOverride()
    .addCommand(pullCommand())
    .addCommand(pushCommand())
    .addCommand(imageCommand())
    .addCommand(logsCommand())
    .addCommand(eventsCommand())
    .addCommand(doctorCommand())
  try {
    await program.parseAsync(argv, { from: 'user' })
    return Number(process.exitCode ?? 0)
  } catch (err) {
    // commander has printed its own complaint, or the help that was asked for.
    if (err instanceof CommanderError) return err.exitCode === 0 ? 0 : 2
    process.stderr.write(`wharf: ${describe(err)}\n`)
    return 1
  }
}
