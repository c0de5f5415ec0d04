import { Command } from 'commander'

import {
  addressOption,
  type DaemonFlags,
  namespaceOption,
  withClient,
} from '#cli/daemon-options.ts'
import type { Image } from '#client/image.ts'
import { alreadyExists, hasCode } from '#lib/errors/errors.ts'

import { printImages } from './image-text.ts'
import { completeReference, findImage } from './reference.ts'

interface TagFlags extends DaemonFlags {
  readonly force?: boolean
  readonly json?: boolean
}

const help = `
Exit code: 0; 1 when something failed; 2 for bad usage.`

/** `wharf image tag`: gives an image more names. */
export function tagCommand(): Command {
  return new Command('tag')
    .description('give an image more names')
    .argument('<image>', 'which image')
    .argument('<name...>', 'its new names')
    .addOption(addressOption())
    .addOption(namespaceOption('whose image'))
    .option('--force', 'also a name that another image has')
    .option('--json', 'one JSON object on a line for each name')
    .addHelpText('after', help)
    .exitOverride()
    .action(
      async (image: string, names: string[], flags: TagFlags) => await tag(image, names, flags),
    )
}

async function tag(text: string, names: readonly string[], flags: TagFlags): Promise<void> {
  const { force = false, json = false } = flags
  const tagged = await withClient(flags, async (client, signal) => {
    const { name, target, labels } = await findImage(client, text, signal)
    const made: Image[] = []
    for (const each of names.map(completeReference)) {
      try {
        const image = force
          ? await client.images.tag(name, each, { signal })
          : await client.images.create({ name: each, target, labels }, { signal })
        made.push(image)
      } catch (err) {
        if (!hasCode(err, 'already_exists')) throw err
        // oxlint-disable-next-line preserve-caught-error -- it says the same
        throw alreadyExists(`image ${JSON.stringify(each)} (--force takes the name away from it)`)
      }
    }
    return made
  })
  await printImages(tagged, json, ({ name }) => `${name}\n`)
}
