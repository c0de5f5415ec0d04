import { Command, Option } from 'commander'

import {
  addressOption,
  type DaemonFlags,
  namespaceOption,
  withClient,
} from '#cli/daemon-options.ts'
import type { ConvertOptions } from '#client/convert.ts'
import type { Image } from '#client/image.ts'
import { hostPlatformName } from '#core/platforms/platforms.ts'

import { imageText, printImages } from './image-text.ts'
import { platformsOption } from './platforms-option.ts'
import { completeReference, findImage } from './reference.ts'
import { transferView } from './transfer-view.ts'

interface ConvertFlags extends DaemonFlags {
  readonly zstd?: boolean
  readonly gzip?: boolean
  readonly uncompressed?: boolean
  readonly oci?: boolean
  readonly platform?: readonly string[]
  readonly allPlatforms?: boolean
  readonly json?: boolean
}

const help = `
Layers become what --zstd, --gzip or --uncompressed says, and stay as they are without one. Of an index only
what is for the platforms is taken over. An image that is called DST already is replaced; it may be SRC.

What runs of it is the same: the layers unpack to what they did, and are not unpacked again.

Exit code: 0; 1 when something failed; 2 for bad usage.`

/** `wharf image convert`: makes an image with other compression or types. */
export function convertCommand(): Command {
  return new Command('convert')
    .description('make an image with its layers compressed otherwise')
    .argument('<src>', 'which image')
    .argument('<dst>', 'what the result is called')
    .addOption(addressOption())
    .addOption(namespaceOption('whose image'))
    .addOption(compression('zstd', 'with types of OCI', ['gzip', 'uncompressed']))
    .addOption(compression('gzip', 'as every registry and daemon knows it', ['uncompressed']))
    .addOption(new Option('--uncompressed', 'layers without compression'))
    .option('--oci', "types of OCI instead of Docker's")
    .addOption(platformsOption('for these platforms; for this machine without it'))
    .addOption(new Option('--all-platforms', 'for all platforms').conflicts('platform'))
    .option('--json', 'one JSON object on a line: how far it is, and at the end the image')
    .addHelpText('after', help)
    .exitOverride()
    .action(async (src: string, dst: string, flags: ConvertFlags) => await convert(src, dst, flags))
}

const compression = (name: string, what: string, others: string[]): Option =>
  new Option(`--${name}`, `layers in ${name}, ${what}`).conflicts(others)

async function convert(src: string, dst: string, flags: ConvertFlags): Promise<void> {
  const { json = false, platform = [hostPlatformName], allPlatforms = false } = flags
  const layers = layersOf(flags)
  const image = await withClient(flags, async (client, signal): Promise<Image> => {
    using view = transferView(json)
    const { name } = await findImage(client, src, signal)
    return await client.images.convert(name, completeReference(dst), {
      signal,
      ...(layers && { layers }),
      ...(flags.oci && { oci: true }),
      ...(!allPlatforms && { platforms: platform }),
      ...(view.show && { onProgress: view.show }),
    })
  })
  await printImages([image], json, imageText)
}

function layersOf({ zstd, gzip, uncompressed }: ConvertFlags): ConvertOptions['layers'] {
  if (zstd) return 'zstd'
  if (gzip) return 'gzip'
  return uncompressed ? 'none' : undefined
}
