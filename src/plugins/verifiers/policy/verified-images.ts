import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'

import { digestOf } from '#lib/digest/digest.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'

/** That an image was good under a rule. */
export interface Verified {
  /** `trustFingerprint` of the rule. */
  readonly trust: string
  readonly repository: string
  readonly digest: string
  /** What its digest is of: bytes that are good as a manifest need not be good as an index. */
  readonly mediaType: string
  /** When it is over, if it ends. */
  readonly until?: Date | undefined
}

/** More are not kept; the oldest go first. */
const most = 8192

/**
 * What has been verified, in files that only the daemon writes: a label of the content would be for
 * every client to set.
 *
 *     <dir>/verified/<sha256 of trust, repository, digest and type>    {"repository", "digest", "until"}
 *
 * A file is there whole or not at all, and is on disk when `add` returns.
 */
export class VerifiedImages {
  readonly #dir: string

  constructor(rootDir: string) {
    this.#dir = join(rootDir, 'verified')
  }

  async add(verified: Verified): Promise<void> {
    const { repository, digest, until } = verified
    await mkdir(this.#dir, { recursive: true, mode: 0o700 })
    const path = this.#pathOf(verified)
    const temporary = `${path}.${crypto.randomUUID()}.tmp`
    try {
      await using file = await open(temporary, 'wx', 0o600)
      await file.writeFile(`${JSON.stringify({ repository, digest, until })}\n`)
      await file.sync()
      await rename(temporary, path)
    } catch (err) {
      await rm(temporary, { force: true })
      throw new Error(`record that ${digest} is verified`, { cause: err })
    }
    await this.#syncDir()
    await this.#prune()
  }

  /** Whether it was added and is not over. One that cannot be read was not. */
  async has(verified: Verified): Promise<boolean> {
    const text = await readFile(this.#pathOf(verified), 'utf8').catch((err: unknown) => {
      if (hasErrno(err, 'ENOENT')) return undefined
      throw new Error(`look whether ${verified.digest} is verified`, { cause: err })
    })
    const record = text === undefined ? undefined : parse(text)
    if (record === undefined) return false
    return record.until === undefined || new Date(record.until) > new Date()
  }

  #pathOf({ trust, repository, digest, mediaType }: Verified): string {
    const key = digestOf(JSON.stringify([trust, repository, digest, mediaType]))
    return join(this.#dir, key.replace('sha256:', ''))
  }

  async #syncDir(): Promise<void> {
    await using dir = await open(this.#dir, 'r')
    await dir.sync()
  }

  async #prune(): Promise<void> {
    const names = await readdir(this.#dir)
    if (names.length <= most) return
    const aged = await Promise.all(
      names.map(async (name) => {
        const path = join(this.#dir, name)
        return { path, at: (await stat(path).catch(() => undefined))?.mtimeMs ?? 0 }
      }),
    )
    const old = aged.toSorted((a, b) => a.at - b.at).slice(0, names.length - most)
    for (const { path } of old) await rm(path, { force: true })
  }
}

function parse(text: string): { readonly until?: string } | undefined {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value !== 'object' || value === null) return undefined
    const until = 'until' in value ? value.until : undefined
    if (until === undefined) return {}
    return typeof until === 'string' ? { until } : undefined
  } catch {
    return undefined
  }
}
