import { Command } from 'commander'

import { bytes } from '#cli/bytes.ts'
import {
  addressOption,
  type DaemonFlags,
  namespaceOption,
  withClient,
} from '#cli/daemon-options.ts'
import { table } from '#cli/table.ts'
import { write } from '#cli/write.ts'

import { imageJson } from './image-text.ts'
import { findImage } from './reference.ts'

interface UsageFlags extends DaemonFlags {
  readonly snapshotter?: string
  readonly json?: boolean
}

const help = `
Exit code: 0; 1 when something failed; 2 for bad usage.`

/** `wharf image usage`: what images take on disk. */
export function usageCommand(): Command {
  return new Command('usage')
    .description('tell what an image takes on disk')
    .argument('<image...>', 'which images')
    .addOption(addressOption())
    .addOption(namespaceOption('whose images'))
    .option('--snapshotter <name>', 'where its layers are unpacked')
    .option('--json', 'one JSON object on a line for each image')
    .addHelpText('after', help)
    .exitOverride()
    .action(async (names: string[], flags: UsageFlags) => await usage(names, flags))
}

async function usage(names: readonly string[], flags: UsageFlags): Promise<void> {
  const { snapshotter, json = false } = flags
  const rows = await withClient(flags, async (client, signal) => {
    const found = []
    for (const name of names) {
      const image = await findImage(client, name, signal)
      const options = { signal, ...(snapshotter !== undefined && { snapshotter }) }
      found.push({ image, usage: await image.usage(options) })
    }
    return found
  })
  const text = json
    ? rows
        .map((row) => `${JSON.stringify({ ...imageJson(row.image), usage: row.usage })}\n`)
        .join('')
    : table(
        [
          ['NAME', 'CONTENT', 'UNPACKED', 'LAYERS', 'MISSING BLOBS'],
          ...rows.map(({ image, usage: { contentBytes, snapshotBytes, snapshots, missing } }) => [
            image.name,
            bytes(contentBytes),
            bytes(snapshotBytes),
            String(snapshots),
            String(missing),
          ]),
        ],
        [1, 2, 3, 4],
      )
  await write(process.stdout, text)
}
