import { Command } from 'commander'

import { progressBar } from '#cli/progress.ts'
import { holdFile } from '#doctor/database.ts'
import { checkFile } from '#lib/bolt/check.ts'

import { checkText, reportJson } from './db-report.ts'

interface Options {
  readonly json?: true
}

/** `wharf doctor db`: looks at every page of a database file. */
export function dbCommand(): Command {
  return new Command('db')
    .description('check every page of a database file of containerd or wharf')
    .argument('<file>', 'the file: meta.db, or the metadata.db of a snapshotter')
    .option('--json', 'report as JSON')
    .addHelpText(
      'after',
      '\nExit code: 0 when the file is sound, 1 when it is damaged, 2 for bad usage.',
    )
    .exitOverride()
    .action(run)
}

async function run(path: string, options: Options): Promise<void> {
  using held = holdFile(path, false)
  using bar = progressBar('checking')
  const report = await checkFile(held.file, { onProgress: bar.step })
  bar[Symbol.dispose]()
  process.stdout.write(options.json === true ? reportJson(report) : checkText(report))
  process.exitCode = report.sound ? 0 : 1
}
