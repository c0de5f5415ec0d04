import { Command } from 'commander'

import {
  addressOption,
  type DaemonFlags,
  namespaceOption,
  withClient,
} from '#cli/daemon-options.ts'
import type { Image } from '#client/image.ts'

import { imageText, printImages } from './image-text.ts'
import { platformsOption } from './platforms-option.ts'
import { completeReference } from './reference.ts'
import {
  type RegistryFlags,
  registryHelp,
  registryOptions,
  withRegistryFlags,
} from './registry-options.ts'
import { transferView } from './transfer-view.ts'

interface PullFlags extends DaemonFlags, RegistryFlags {
  readonly platform?: readonly string[]
  readonly allPlatforms?: boolean
  readonly unpack: boolean
  readonly snapshotter?: string
  readonly json?: boolean
}

const help = `
REFERENCE is docker.io/library/alpine:3.20, registry.example:5000/team/app@sha256:…, or short as Docker
has it: alpine. What is already there is not loaded again.
${registryHelp}

Exit code: 0; 1 when something failed; 2 for bad usage.`

/** `wharf pull`: loads an image from a registry. */
export function pullCommand(): Command {
  const command = new Command('pull')
    .description('load an image from a registry, and unpack it')
    .argument('<reference>', 'which image')
    .addOption(addressOption())
    .addOption(namespaceOption('whose image it becomes'))
    .addOption(platformsOption('for these platforms; for this machine without it'))
    .option('--all-platforms', 'for all platforms')
    .option('--no-unpack', 'only load it')
    .option('--snapshotter <name>', 'where to unpack to')
    .option('--json', 'one JSON object on a line: how far it is, and at the end the image')
  return withRegistryFlags(command)
    .addHelpText('after', help)
    .exitOverride()
    .action(async (reference: string, flags: PullFlags) => await pull(reference, flags))
}

async function pull(reference: string, flags: PullFlags): Promise<void> {
  const { json = false, platform, allPlatforms = false, unpack, snapshotter } = flags
  const registry = await registryOptions(flags)
  const image = await withClient(flags, async (client, signal): Promise<Image> => {
    using view = transferView(json)
    return await client.images.pull(completeReference(reference), {
      ...registry,
      signal,
      unpack,
      ...(platform && { platforms: platform }),
      ...(allPlatforms && { platforms: [] }),
      ...(snapshotter !== undefined && { snapshotter }),
      ...(view.show && { onProgress: view.show }),
    })
  })
  await printImages([image], json, imageText)
}
