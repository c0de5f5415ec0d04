import { Command } from 'commander'

import { findPlaces } from '#doctor/places.ts'
import { examineStore } from '#doctor/store.ts'

import { progressBar } from './progress-bar.ts'
import { reportText } from './report-text.ts'

interface Options {
  readonly root?: string
  readonly state?: string
  readonly config?: string
  readonly repair?: boolean
  readonly dropBrokenImages?: boolean
  readonly rebuild?: string
  readonly quick?: boolean
  readonly json?: boolean
}

/** `wharf doctor store`: the whole store of a daemon that does not run. Ends with 1 when something is left. */
export function storeCommand(): Command {
  return new Command('store')
    .description('check images, containers, blobs and snapshots of a daemon that does not run')
    .option('--root <dir>', 'what the daemon keeps for good (default: /var/lib/containerd)')
    .option('--state <dir>', 'what it keeps until the machine restarts (default: /run/containerd)')
    .option('-c, --config <file>', 'a config.toml that says where these are')
    .option('--repair', 'repair what can be repaired; without it nothing is written')
    .option('--drop-broken-images', 'with --repair: remove the names of images that are not whole')
    .option('--rebuild <namespace>', 'with --repair: make a lost meta.db anew, in this namespace')
    .option('--quick', 'look at records, names and sizes, and not into files')
    .option('--json', 'a report for programs, on stdout')
    .exitOverride()
    .action(run)
}

async function run(options: Options, command: Command): Promise<void> {
  const { repair = false, dropBrokenImages = false, quick = false, json = false } = options
  const { rebuild } = options
  if (dropBrokenImages && !repair) command.error('error: --drop-broken-images needs --repair')
  if (rebuild !== undefined && !repair) command.error('error: --rebuild needs --repair')
  if (rebuild !== undefined && quick) command.error('error: --rebuild reads all blobs: not --quick')
  const stop = new AbortController()
  using _signals = abortOnSignals(stop)
  using bar = progressBar(process.stderr)
  const report = await examineStore(findPlaces(options), {
    signal: stop.signal,
    repair,
    dropBrokenImages,
    rebuildIn: rebuild,
    quick,
    onProgress: bar.show,
  })
  bar[Symbol.dispose]()
  process.stdout.write(json ? `${JSON.stringify(report, undefined, 2)}\n` : reportText(report))
  process.exitCode = report.sound ? 0 : 1
}

/** Ctrl-C ends the work where it is: whatever was being replaced is still as it was. */
function abortOnSignals(stop: AbortController): Disposable {
  const undo = new DisposableStack()
  for (const name of ['SIGINT', 'SIGTERM'] as const) {
    const abort = (): void => stop.abort(new Error(`stopped by ${name}`))
    process.once(name, abort)
    undo.defer(() => process.off(name, abort))
  }
  return undo
}
