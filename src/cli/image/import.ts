import { Command } from 'commander'

import {
  addressOption,
  type DaemonFlags,
  namespaceOption,
  withClient,
} from '#cli/daemon-options.ts'
import type { Image } from '#client/image.ts'
import { failedPrecondition } from '#lib/errors/errors.ts'

import { imageText, printImages } from './image-text.ts'
import { transferView } from './transfer-view.ts'

interface ImportFlags extends DaemonFlags {
  readonly platform?: string
  readonly baseName?: string
  readonly unpack: boolean
  readonly snapshotter?: string
  readonly json?: boolean
}

const help = `
FILE is an OCI layout in tar or what "docker save" writes, also compressed; - is standard input.

Exit code: 0; 1 when something failed; 2 for bad usage.`

/** `wharf image import`: reads images from an archive. */
export function importCommand(): Command {
  return new Command('import')
    .alias('load')
    .description('read images from an archive')
    .argument('<file>', 'the archive')
    .addOption(addressOption())
    .addOption(namespaceOption('whose images they become'))
    .option('--platform <os/arch>', 'for this platform; for this machine without it')
    .option('--base-name <name>', 'of images that have only a tag in the archive')
    .option('--no-unpack', 'only load them')
    .option('--snapshotter <name>', 'where to unpack to')
    .option('--json', 'one JSON object on a line: how far it is, and at the end the images')
    .addHelpText('after', help)
    .exitOverride()
    .action(async (file: string, flags: ImportFlags) => await load(file, flags))
}

async function load(file: string, flags: ImportFlags): Promise<void> {
  const { json = false, unpack, platform, baseName, snapshotter } = flags
  const images = await withClient(flags, async (client, signal): Promise<Image[]> => {
    using view = transferView(json)
    return await client.images.import(file === '-' ? process.stdin : file, {
      signal,
      unpack,
      ...(platform !== undefined && { platform }),
      ...(baseName !== undefined && { baseName }),
      ...(snapshotter !== undefined && { snapshotter }),
      ...(view.show && { onProgress: view.show }),
    })
  })
  if (images.length === 0) {
    const todo = 'give them one with --base-name'
    throw failedPrecondition(`${file} has images, and none of them has a name: ${todo}`)
  }
  await printImages(images, json, imageText)
}
