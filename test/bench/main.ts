import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { describe } from '#lib/errors/errors.ts'
import { packageRoot, programPath } from '#lib/release/release.ts'
import { run } from '#testing/daemon.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'
import { findProgram } from '#testing/programs.ts'

import { makeBigImage } from './big-image.ts'
import { contenders, type Shared } from './contenders.ts'
import { makeHugeImage } from './huge-image.ts'
import { describeMachine } from './machine.ts'
import { type Options, parseOptions, usage } from './options.ts'
import { type Progress, progressOn } from './progress.ts'
import { openRegistry } from './registry.ts'
import { type Report, textOf } from './report.ts'
import type { Line } from './results.ts'
import { measureRow } from './rounds.ts'
import type { Contender } from './row.ts'

/*
 * wharfd beside every containerd of this machine: `npm run bench`. Each row is a file here, listed
 * in rows.ts; all rows of a run use the same machine, OCI runtime, client and images.
 */

const smallImage = 'docker.io/library/busybox:latest'
const bigImageBytes = 520_000_000
const quickImageBytes = 40_000_000
const hugeImageBytes = 2_000_000_000
const quickHugeImageBytes = 200_000_000

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args)
  if (options.help) {
    process.stdout.write(usage)
    return 0
  }
  if (process.getuid?.() !== 0) throw new Error('daemons mount and run containers: be root')
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => stop.abort(new Error(`stopped by ${signal}`)))
  }
  using progress = progressOn(process.stderr)
  const report = await bench(options, stop.signal, progress)
  progress.clear()
  const text = options.json ? JSON.stringify(report, null, 2) : textOf(report, process.stdout.isTTY)
  process.stdout.write(`${text}\n`)
  return report.failures.length > 0 ? 1 : 0
}

async function bench(options: Options, signal: AbortSignal, progress: Progress): Promise<Report> {
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'wharf-bench-'))
  const all = contenders()
  await using scope = new AsyncDisposableStack()
  const shared = await share(scratch.path, options, all, progress, scope)
  const lines: Line[] = []
  const failures: string[] = []
  const remarks: string[] = []
  for (const row of options.rows) {
    const { rounds } = options
    const show = (doing: string): void => progress.show(doing)
    const measured = await measureRow(row, { contenders: all, rounds, shared, signal, show })
    lines.push(...measured.lines)
    failures.push(...measured.failures)
    remarks.push(...measured.remarks)
  }
  return {
    machine: await describeMachine(all, shared.crun),
    rounds: options.rounds,
    quick: options.quick,
    bigImage: shared.bigImage,
    labels: all.map(({ label }) => label),
    lines,
    failures,
    remarks,
  }
}

async function share(
  dir: string,
  { quick, rows, source }: Options,
  all: readonly Contender[],
  progress: Progress,
  scope: AsyncDisposableStack,
): Promise<Shared> {
  const ctrs = all.flatMap(({ containerd }) => containerd?.ctr ?? [])
  const [ctr, newestCtr] = [ctrs[0], ctrs.at(-1)]
  if (ctr === undefined || newestCtr === undefined)
    throw new Error('there is no containerd to compare with')
  progress.show('making images')
  const file = join(dir, 'small.tar')
  await writeImage(busyboxImage(smallImage), file)
  const bytes = quick ? quickImageBytes : bigImageBytes
  const hugeBytes = quick ? quickHugeImageBytes : hugeImageBytes
  const big = rows.some((row) => row.bigImage)
  const huge = rows.some((row) => row.hugeImage)
  const registry = rows.some((row) => row.registry)
  return {
    smallImage: { file, name: smallImage },
    ...(big && { bigImage: await makeBigImage(dir, bytes) }),
    ...(huge && { hugeImage: await makeHugeImage(dir, hugeBytes) }),
    ...(registry && { registry: scope.use(await openRegistry(dir, quick, bytes)) }),
    program: source ? programPath('wharfd.mjs') : await buildRelease(join(dir, 'release')),
    crun: findProgram('crun') !== undefined,
    ctr,
    newestCtr,
    quick,
  }
}

/**
 * Gives the program of a release made in `dir`, with a Node of its own: memory that it would share with the
 * bench, and with whatever else runs on Node here, is counted as wharfd's.
 */
async function buildRelease(dir: string): Promise<string> {
  const build = join(packageRoot, 'tools', 'build.ts')
  const { code, stderr } = await run(process.execPath, [build, '--node', '--out', dir])
  if (code !== 0) throw new Error(`no release to measure: ${stderr}`)
  return join(dir, 'bin', 'wharfd.mjs')
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (err) {
  process.stderr.write(`wharf bench: ${describe(err)}\n`)
  process.exitCode = 1
}
