import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { mountInfo } from '#sys/mount-info.ts'
import { containerd2 } from '#testing/containerd.ts'
import { root } from '#testing/root.ts'

import { type Bench, type BenchOptions, openBench, processesWith } from './runtime-bench.ts'

const newer = containerd2()
const shims: Readonly<Record<string, BenchOptions>> = {
  'the Go shim': { builtinShim: false, runtime: 'io.containerd.runc.v2' },
  ...(newer && { [`the Go shim ${newer.version}`]: { builtinShim: false, runtime: newer.shim } }),
  'the built-in host': { builtinShim: true, runtime: 'io.containerd.runc.v2' },
}

/** Whether that is the shim of containerd 2.x. */
export const isNewer = ({ runtime }: BenchOptions): boolean => runtime === newer?.shim

/** A test of a task manager. */
export type Check = (title: string, body: (bench: Bench) => Promise<void>) => void

/** A suite for each shim there is. */
export function suiteOfEachShim(
  title: string,
  checks: (check: Check, options: BenchOptions) => void,
): void {
  for (const [name, options] of Object.entries(shims)) {
    void suite(`${title} with ${name}`, () => checks(checkWith(options), options))
  }
}

/** Tests of a manager that is opened for each, and tells what it said when one fails. */
export const checkWith =
  (options: BenchOptions): Check =>
  (title, body) => {
    void test(title, { timeout: 120_000 }, async (t) => {
      if (!root(t)) return
      await using bench = await openBench(options)
      try {
        await body(bench)
      } catch (err) {
        t.diagnostic(bench.logs.join('\n'))
        throw err
      }
    })
  }

/** No file and no mount of a task is there, without waiting for that. */
export function assertGone(bench: Bench, id: string): void {
  assert.deepEqual(
    readdirSync(join(bench.bundle(id), '..')).filter((name) => name.includes(id)),
    [],
  )
  const work = join(bench.dir, 'root', bench.namespace)
  assert.deepEqual(
    readdirSync(work).filter((name) => name.includes(id)),
    [],
  )
  const mounts = mountInfo().filter(({ mountPoint }) => mountPoint.startsWith(bench.bundle(id)))
  assert.deepEqual(mounts, [])
}

/** Whether it runs; a process that nobody has reaped yet does not. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    // Not even its entry is left.
    return false
  }
}

/** Shims of the bench that run. */
export const ownShims = (bench: Bench): number[] => processesWith('containerd-shim', bench.dir)
