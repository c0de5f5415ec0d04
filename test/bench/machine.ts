import { availableParallelism, cpus, release, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'

import { run } from '#testing/daemon.ts'

import type { Contender } from './row.ts'

/** Where a bench ran, and what of. */
export interface Machine {
  readonly processor: string
  readonly cores: number
  readonly memoryBytes: number
  readonly kernel: string
  /** Versions by the name of the program. */
  readonly versions: Readonly<Record<string, string>>
}

const wharfd = fileURLToPath(new URL('../../bin/wharfd.mjs', import.meta.url))

/** Looks at this machine. */
export async function describeMachine(
  contenders: readonly Contender[],
  crun: boolean,
): Promise<Machine> {
  const containerds = contenders.flatMap(({ containerd }) => containerd?.version ?? [])
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: release(),
    versions: {
      wharfd: await versionOf(process.execPath, wharfd),
      node: process.versions.node,
      containerd: containerds.join(', ') || 'none',
      runc: await versionOf('runc'),
      ...(crun && { crun: await versionOf('crun') }),
    },
  }
}

async function versionOf(program: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await run(program, [...args, '--version'])
  return stdout.match(/\d+(\.\d+)+\S*/)?.[0] ?? 'unknown'
}
