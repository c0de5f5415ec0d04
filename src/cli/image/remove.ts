import { Command } from 'commander'

import {
  addressOption,
  type DaemonFlags,
  namespaceOption,
  withClient,
} from '#cli/daemon-options.ts'
import type { Image } from '#client/image.ts'
import { describe } from '#lib/errors/errors.ts'

import { printImages } from './image-text.ts'
import { findImage } from './reference.ts'

interface RemoveFlags extends DaemonFlags {
  readonly sync?: boolean
  readonly json?: boolean
}

const help = `
The collector removes what only these images held; with --sync it has when the command ends. Containers that
run from an image keep what they need.

Exit code: 0; 1 when one of them could not be removed; 2 for bad usage.`

/** `wharf image rm`: takes names away. */
export function removeCommand(): Command {
  return new Command('rm')
    .aliases(['remove', 'delete', 'del'])
    .description('remove images')
    .argument('<image...>', 'which images')
    .addOption(addressOption())
    .addOption(namespaceOption('whose images'))
    .option('--sync', 'wait until the space is free')
    .option('--json', 'one JSON object on a line for each image that was removed')
    .addHelpText('after', help)
    .exitOverride()
    .action(async (names: string[], flags: RemoveFlags) => await remove(names, flags))
}

async function remove(names: readonly string[], flags: RemoveFlags): Promise<void> {
  const { sync = false, json = false } = flags
  const removed: Image[] = []
  await withClient(flags, async (client, signal) => {
    for (const name of names) {
      try {
        const image = await findImage(client, name, signal)
        await client.images.delete(image.name, { signal, synchronous: sync })
        removed.push(image)
      } catch (err) {
        if (signal.aborted) throw err
        process.stderr.write(`wharf: ${describe(err)}\n`)
        process.exitCode = 1
      }
    }
  })
  await printImages(removed, json, ({ name }) => `${name}\n`)
}
