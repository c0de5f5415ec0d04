import { Command } from 'commander'

import { createFile } from '#cli/create-file.ts'
import {
  addressOption,
  type DaemonFlags,
  namespaceOption,
  withClient,
} from '#cli/daemon-options.ts'
import { write } from '#cli/write.ts'

import { platformsOption } from './platforms-option.ts'
import { findImage } from './reference.ts'
import { type TransferView, transferView } from './transfer-view.ts'

interface ExportFlags extends DaemonFlags {
  readonly platform?: readonly string[]
  readonly allPlatforms?: boolean
  readonly skipManifestJson?: boolean
  readonly skipNonDistributable?: boolean
  readonly json?: boolean
}

const help = `
FILE is an OCI layout in tar that Docker reads, too; - is standard output. A FILE that is there already is
replaced when the archive is complete.

Exit code: 0; 1 when something failed; 2 for bad usage.`

/** `wharf image export`: writes images to an archive. */
export function exportCommand(): Command {
  return new Command('export')
    .alias('save')
    .description('write images to an archive')
    .argument('<file>', 'the archive')
    .argument('<image...>', 'which images')
    .addOption(addressOption())
    .addOption(namespaceOption('whose images'))
    .addOption(platformsOption('for these platforms; for this machine without it'))
    .option('--all-platforms', 'everything that is there')
    .option('--skip-manifest-json', 'without what old versions of Docker read')
    .option('--skip-non-distributable', 'without layers that may not be passed on')
    .option(
      '--json',
      'one JSON object on a line: how far it is, and at the end the archive; not with -',
    )
    .addHelpText('after', help)
    .exitOverride()
    .action(
      async (file: string, names: string[], flags: ExportFlags, command: Command) =>
        await save(file, names, flags, command),
    )
}

async function save(
  file: string,
  names: readonly string[],
  flags: ExportFlags,
  command: Command,
): Promise<void> {
  const { json = false, platform } = flags
  if (file === '-' && json) command.error('error: --json needs a FILE')
  if (file === '-' && process.stdout.isTTY) command.error('error: an archive is not for a terminal')
  await withClient(flags, async (client, signal) => {
    const found: string[] = []
    for (const name of names) found.push((await findImage(client, name, signal)).name)
    const size = await writeArchive(file, json, (view) =>
      client.images.export(found, {
        signal,
        ...(platform && { platforms: platform }),
        ...(view.show && { onProgress: view.show }),
        allPlatforms: flags.allPlatforms ?? false,
        skipDockerManifest: flags.skipManifestJson ?? false,
        skipNonDistributable: flags.skipNonDistributable ?? false,
      }),
    )
    if (file === '-') return
    const text = json ? `${JSON.stringify({ file, size, images: found })}\n` : `${file}\n`
    await write(process.stdout, text)
  })
}

async function writeArchive(
  file: string,
  json: boolean,
  begin: (view: TransferView) => AsyncIterable<Uint8Array>,
): Promise<number> {
  using view = transferView(json)
  const archive = begin(view)
  if (file !== '-') return await createFile(file, archive)
  let size = 0
  for await (const bytes of archive) {
    await write(process.stdout, bytes)
    size += bytes.length
  }
  return size
}
