import { Command, Option } from 'commander'

import { progressBar } from '#cli/progress.ts'
import { type HeldFile, holdFile, replace, rewrite, type Rewritten } from '#doctor/database.ts'
import { checkFile } from '#lib/bolt/check.ts'

import { checkText, reportJson, rewrittenText } from './db-report.ts'

interface Options {
  readonly json?: true
  readonly repair?: string
  readonly replace?: true
}

const notes = `
A daemon that runs on the file has to be stopped first. Nothing is written without --repair or
--replace.

Exit code: 0 when the file is sound, 1 when it is damaged (also when it was repaired) or cannot be
read, 2 for bad usage.`

/** `wharf doctor db`: looks at every page of a database file, and writes what is readable anew. */
export function dbCommand(): Command {
  const inPlace = new Option(
    '--replace',
    'put the repaired file in the place of a damaged one, which is kept beside it',
  )
  return new Command('db')
    .description('check every page of a database file of containerd or wharf')
    .argument('<file>', 'the file: meta.db, or the metadata.db of a snapshotter')
    .option('--repair <out>', 'write all that can be read into a new file')
    .addOption(inPlace.conflicts('repair'))
    .option('--json', 'report as JSON')
    .addHelpText('after', notes)
    .exitOverride()
    .action(run)
}

async function run(path: string, options: Options): Promise<void> {
  using held = holdFile(path, options.replace === true)
  using checking = progressBar('checking')
  const report = await checkFile(held.file, { onProgress: checking.step })
  checking[Symbol.dispose]()
  if (options.json !== true) process.stdout.write(checkText(report))
  process.exitCode = report.sound ? 0 : 1

  const repaired = await repair(held, options, report.sound)
  if (options.json === true) process.stdout.write(reportJson({ ...report, repaired }))
  else if (repaired !== undefined) process.stdout.write(rewrittenText(repaired))
}

async function repair(
  { file }: HeldFile,
  options: Options,
  sound: boolean,
): Promise<Rewritten | undefined> {
  using bar = progressBar('repairing')
  const onProgress = bar.step
  if (options.repair !== undefined) return await rewrite(file, options.repair, { onProgress })
  return options.replace === true && !sound ? await replace(file, { onProgress }) : undefined
}
