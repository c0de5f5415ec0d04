import { statSync } from 'node:fs'
import { basename, delimiter, isAbsolute, join } from 'node:path'

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'

import type { Any } from '#core/any/any.ts'
import { type Context, withTimeout } from '#core/context.ts'
import { OptionsSchema } from '#gen/types/runc-options_pb.ts'
import { describe, failedPrecondition } from '#lib/errors/errors.ts'

import { runProgram } from './run-program.ts'

/** What is looked for when nothing is configured: the first one that is there. */
const known = ['runc', 'crun'] as const
/** What the built-in host takes by itself. */
const hostsOwn = known[0]
/** Before these releases their command lines were not settled. */
const oldest: Readonly<Record<string, number>> = { runc: 1, crun: 1 }
const versionMs = 10_000

/** The OCI runtimes of this machine, for containers whose clients name none. */
export class OciRuntimes {
  readonly #preferred: string
  readonly #path: string
  #found: { readonly name: string; readonly file: string } | undefined

  /** @param preferred - A name or an absolute path; empty for runc, or else crun. */
  constructor(preferred: string, path: string = process.env['PATH'] ?? '') {
    this.#preferred = preferred
    this.#path = path
  }

  /** The one to use now. @throws `failed_precondition` with what to do when there is none. */
  choose(): string {
    if (this.#found && isFile(this.#found.file)) return this.#found.name
    const names = this.#preferred === '' ? known : [this.#preferred]
    for (const name of names) {
      const file = this.#locate(name)
      if (file === undefined) continue
      this.#found = { name, file }
      return name
    }
    throw failedPrecondition(this.#missing())
  }

  /** `options` for the built-in host, with the runtime in it unless they name one. @throws as `choose`. */
  complete(options: Any | undefined): Any | undefined {
    // Options of another kind mean nothing to the host.
    if (options && options.typeUrl.split('/').at(-1) !== OptionsSchema.typeName) return options
    const given = options ? fromBinary(OptionsSchema, options.value) : create(OptionsSchema)
    if (given.binaryName !== '') return options
    const binaryName = this.choose()
    if (binaryName === hostsOwn) return options
    const { typeName } = OptionsSchema
    return { typeUrl: typeName, value: toBinary(OptionsSchema, { ...given, binaryName }) }
  }

  /** Says which there are, in which versions, and what is wrong with them. Never throws. */
  async report(ctx: Context): Promise<void> {
    const names = new Set([...known, this.#preferred].filter(Boolean))
    for (const name of names) {
      const file = this.#locate(name)
      if (file !== undefined) await this.#reportOne(ctx, name, file)
    }
    try {
      this.choose()
    } catch (err) {
      ctx.log.error('no container can be started', { error: describe(err) })
    }
  }

  async #reportOne(ctx: Context, name: string, file: string): Promise<void> {
    try {
      const { signal } = withTimeout(ctx, versionMs)
      const { stdout } = await runProgram(file, { args: ['--version'], signal })
      const [, version = '', major] = /version (v?(\d+)\.\S+)/.exec(stdout.toString()) ?? []
      ctx.log.info('found an OCI runtime', { name, path: file, version })
      const least = oldest[basename(name)]
      if (least !== undefined && major !== undefined && Number(major) < least) {
        ctx.log.warn('this OCI runtime is too old', { name, version, oldest: `${least}.0` })
      }
    } catch (err) {
      if (ctx.signal.aborted) return
      ctx.log.warn('an OCI runtime does not run', { name, path: file, error: describe(err) })
    }
  }

  #locate(name: string): string | undefined {
    if (isAbsolute(name)) return isFile(name) ? name : undefined
    return this.#path
      .split(delimiter)
      .map((dir) => join(dir || '.', name))
      .find(isFile)
  }

  #missing(): string {
    if (this.#preferred === '') {
      return `no OCI runtime: neither ${known.join(' nor ')} is in PATH; install one of them`
    }
    const what = JSON.stringify(this.#preferred)
    return `the OCI runtime ${what}, oci_runtime in the configuration, is not installed`
  }
}

const isFile = (path: string): boolean =>
  statSync(path, { throwIfNoEntry: false })?.isFile() === true
