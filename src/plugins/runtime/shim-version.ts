import { stat } from 'node:fs/promises'

import { runProgram } from './run-program.ts'

/**
 * What the `start` of a shim reads on stdin: a protobuf `Any` with the runtime's options, or since
 * containerd 2.3 `BootstrapParams`. A shim of one kind may fail on the other, so it is asked first.
 */
export type BootstrapForm = 'any' | 'params'

interface Known {
  readonly mtimeMs: number
  readonly size: number
  readonly form: Promise<BootstrapForm>
}

const probeMs = 5_000

/** Learns from `-v` what a shim reads; asked once for each program, and again when it changes. */
export class ShimVersions {
  readonly #known = new Map<string, Known>()

  /** @throws when the program is missing or cannot be run. */
  async formOf(path: string): Promise<BootstrapForm> {
    const { mtimeMs, size } = await stat(path)
    const known = this.#known.get(path)
    if (known?.mtimeMs === mtimeMs && known.size === size) return await known.form
    const form = probe(path)
    this.#known.set(path, { mtimeMs, size, form })
    try {
      return await form
    } catch (err) {
      this.#known.delete(path)
      throw err
    }
  }
}

async function probe(path: string): Promise<BootstrapForm> {
  const signal = AbortSignal.timeout(probeMs)
  const { stdout } = await runProgram(path, { args: ['-v'], signal })
  return formOfVersion(stdout.toString())
}

/** Reads `  Version:  2.1.9+unknown`; shims that print anything else are given an `Any`. */
export function formOfVersion(text: string): BootstrapForm {
  const [, major, minor] = /^\s*Version:\s+v?(\d+)\.(\d+)/m.exec(text) ?? []
  if (major === undefined || minor === undefined) return 'any'
  return Number(major) > 2 || (Number(major) === 2 && Number(minor) >= 3) ? 'params' : 'any'
}
