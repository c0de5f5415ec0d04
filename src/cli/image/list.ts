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
import type { Image } from '#client/image.ts'
import type { ImageUsage } from '#core/images/usage.ts'

import { imageJson } from './image-text.ts'

interface ListFlags extends DaemonFlags {
  readonly quiet?: boolean
  readonly json?: boolean
}

const help = `
SIZE is what has come of it, compressed as it came; UNPACKED is what its layers take where they are
unpacked. What images share counts for each.

A FILTER is containerd's: name~="alpine", target.digest==sha256:…, labels.team==web. Several mean any of
them.

Exit code: 0; 1 when something failed; 2 for bad usage.`

/** `wharf image ls`: which images there are. */
export function listCommand(): Command {
  return new Command('ls')
    .alias('list')
    .description('list images')
    .argument('[filter...]', 'only images that match')
    .addOption(addressOption())
    .addOption(namespaceOption('whose images'))
    .option('-q, --quiet', 'only names')
    .option('--json', 'one JSON object on a line for each image')
    .addHelpText('after', help)
    .exitOverride()
    .action(async (filters: string[], flags: ListFlags) => await list(filters, flags))
}

async function list(filters: readonly string[], flags: ListFlags): Promise<void> {
  const { quiet = false, json = false } = flags
  const text = await withClient(flags, async (client, signal) => {
    const images = await client.images.list(filters, { signal })
    if (quiet) return images.map(({ name }) => `${name}\n`).join('')
    const sized: Sized[] = []
    for (const image of images) sized.push({ image, usage: await image.usage({ signal }) })
    return json ? sized.map(jsonLine).join('') : textTable(sized)
  })
  await write(process.stdout, text)
}

interface Sized {
  readonly image: Image
  readonly usage: ImageUsage
}

const jsonLine = ({ image, usage }: Sized): string =>
  `${JSON.stringify({ ...imageJson(image), usage })}\n`

const textTable = (images: readonly Sized[]): string =>
  table(
    [
      ['NAME', 'DIGEST', 'SIZE', 'UNPACKED'],
      ...images.map(({ image: { name, target }, usage }) => [
        name,
        target.digest.slice(0, shortDigest),
        bytes(usage.contentBytes),
        usage.snapshots > 0 ? bytes(usage.snapshotBytes) : '-',
      ]),
    ],
    [2, 3],
  )

/** `sha256:` and twelve digits: enough to tell images apart. */
const shortDigest = 19
