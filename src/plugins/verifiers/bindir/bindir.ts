import { readdir } from 'node:fs/promises'
import { join } from 'node:path'

import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Candidate, ImageVerifier, Judgement } from '#core/verification/verification.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'
import { formatDuration } from '#lib/go/duration.ts'

import { ask } from './program.ts'

export interface BinDirSettings {
  readonly binDir: string
  /** Ask no more programs than this; all of them when it is negative. */
  readonly maxVerifiers: number
  readonly timeoutMs: number
  /** Refuse where containerd would let an image through unasked. */
  readonly failClosed: boolean
}

/**
 * Asks the programs of a directory, in the order of their names:
 *
 *     <bin_dir>/<program> -name <reference> -digest <digest> -stdin-media-type <type>
 *       stdin    the descriptor of the image, as JSON
 *       stdout   why, for people
 *       exit     0 for yes, anything else for no
 *
 * One that says no ends it; one that cannot be started, or does not end in time, too. Where there is
 * no directory, or nothing in it, everything may be pulled, and of more programs than `maxVerifiers`
 * the rest is not asked; unless `failClosed`, which refuses then.
 *
 * Source: upstream `pkg/imageverifier/bindir`, `docs/image-verification.md`.
 */
export class BinDirVerifier implements ImageVerifier {
  readonly #settings: BinDirSettings

  constructor(settings: BinDirSettings) {
    this.#settings = settings
  }

  async verify(ctx: Context, candidate: Candidate): Promise<Judgement> {
    const { binDir, maxVerifiers, failClosed } = this.#settings
    const programs = await listed(binDir)
    if (programs === undefined) {
      return this.#unasked(`image verifier directory ${binDir} does not exist`)
    }
    if (programs.length === 0) {
      return this.#unasked(`no image verifier binaries found in ${binDir}`)
    }
    const most = maxVerifiers < 0 ? programs.length : maxVerifiers
    if (programs.length > most) {
      const many = `directory ${binDir} has ${programs.length} entries, more than configured max of ${most} verifiers`
      if (failClosed) return this.#unasked(many)
      ctx.log.warn(`image verifiers are being skipped since ${many}`)
    }
    return await this.#askAll(ctx, candidate, programs.slice(0, most))
  }

  /** The answer where there is nobody to ask, or not everybody is. */
  #unasked(reason: string): Judgement {
    const { failClosed } = this.#settings
    return { ok: !failClosed, reason: failClosed ? `${reason}, and fail_closed is set` : reason }
  }

  async #askAll(
    ctx: Context,
    { name, target }: Candidate,
    programs: readonly string[],
  ): Promise<Judgement> {
    const reasons: string[] = []
    for (const program of programs) {
      const began = performance.now()
      const answer = await this.#ask(ctx, program, name, target).catch((err: unknown) => {
        const runtime = formatDuration(Math.round(performance.now() - began))
        throw new Error(`failed to call verifier ${program} (runtime ${runtime})`, { cause: err })
      })
      const { exitCode, reason } = answer
      if (exitCode !== 0) {
        const text = `verifier ${program} rejected image (exit code ${exitCode}): ${reason}`
        return { ok: false, reason: text }
      }
      reasons.push(`${program} => ${reason}`)
    }
    return { ok: true, reason: reasons.join(', ') }
  }

  async #ask(ctx: Context, program: string, name: string, target: Descriptor) {
    const type = 'application/vnd.oci.descriptor.v1+json'
    return await ask(ctx, join(this.#settings.binDir, program), {
      args: ['-name', name, '-digest', target.digest, '-stdin-media-type', type],
      input: `${JSON.stringify(descriptorJson(target))}\n`,
      timeoutMs: this.#settings.timeoutMs,
    })
  }
}

/** The names in a directory, by their bytes as Go sorts them; undefined when there is none. */
async function listed(dir: string): Promise<readonly string[] | undefined> {
  try {
    const names = await readdir(dir)
    return names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
  } catch (err) {
    if (hasErrno(err, 'ENOENT')) return undefined
    throw new Error('failed to list directory contents', { cause: err })
  }
}

const descriptorJson = ({ mediaType, digest, size, annotations }: Descriptor) => ({
  mediaType,
  digest,
  size,
  ...(annotations && Object.keys(annotations).length > 0 && { annotations }),
})
