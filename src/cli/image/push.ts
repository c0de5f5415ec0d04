import { Command } from 'commander'

import {
  addressOption,
  type DaemonFlags,
  namespaceOption,
  withClient,
} from '#cli/daemon-options.ts'
import type { Image } from '#client/image.ts'

import { printImages } from './image-text.ts'
import { platformsOption } from './platforms-option.ts'
import { completeReference, findImage } from './reference.ts'
import {
  type RegistryFlags,
  registryHelp,
  registryOptions,
  withRegistryFlags,
} from './registry-options.ts'
import { transferView } from './transfer-view.ts'

interface PushFlags extends DaemonFlags, RegistryFlags {
  readonly platform?: readonly string[]
  readonly json?: boolean
}

const help = `
What the registry has already is not sent again.
${registryHelp}

Exit code: 0; 1 when something failed; 2 for bad usage.`

/** `wharf push`: sends an image to a registry. */
export function pushCommand(): Command {
  const command = new Command('push')
    .description('send an image to a registry')
    .argument('<reference>', 'where to, and what it is to be called there')
    .argument('[image]', 'which image; the one that is called like the reference without it')
    .addOption(addressOption())
    .addOption(namespaceOption('whose image it is'))
    .addOption(platformsOption('only these platforms; all that are here without it'))
    .option('--json', 'one JSON object on a line: how far it is, and at the end the image')
  return withRegistryFlags(command)
    .addHelpText('after', help)
    .exitOverride()
    .action(
      async (reference: string, image: string | undefined, flags: PushFlags) =>
        await push(completeReference(reference), image, flags),
    )
}

async function push(reference: string, name: string | undefined, flags: PushFlags): Promise<void> {
  const { json = false, platform } = flags
  const registry = await registryOptions(flags)
  const image = await withClient(flags, async (client, signal): Promise<Image> => {
    using view = transferView(json)
    const from = await findImage(client, name ?? reference, signal)
    await client.images.push(reference, {
      ...registry,
      signal,
      image: from.name,
      ...(platform && { platforms: platform }),
      ...(view.show && { onProgress: view.show }),
    })
    return from
  })
  await printImages([image], json, ({ target }) => `${reference} ${target.digest}\n`)
}
