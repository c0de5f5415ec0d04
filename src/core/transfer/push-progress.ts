import type { Descriptor } from '#core/images/images.ts'
import type { PushResult } from '#core/remotes/remotes.ts'

import { refKey } from './ref-key.ts'
import type { ReportProgress } from './transfer.ts'

/**
 * Tells how far the parts of a push are: each is `waiting` under what it belongs to, then `uploading`, then
 * `complete`, or `already exists`. Source: upstream `core/transfer/local/progress.go`.
 */
export class PushProgress {
  readonly #image: string
  readonly #report: ReportProgress
  /** Names of what each digest belongs to, as known when it was first seen. */
  readonly #parents = new Map<string, readonly string[]>()

  constructor(image: string, report: ReportProgress) {
    this.#image = image
    this.#report = report
  }

  found(descriptor: Descriptor, parent: Descriptor | undefined): void {
    const { digest, size: total } = descriptor
    if (this.#parents.has(digest)) return
    const parents = [parent === undefined ? this.#image : refKey(parent)]
    this.#parents.set(digest, parents)
    this.#tell('waiting', descriptor, { parents, progress: 0, total })
  }

  sent(descriptor: Descriptor, progress: number): void {
    const { digest, size: total } = descriptor
    this.#tell('uploading', descriptor, { parents: this.#parents.get(digest), progress, total })
  }

  done(descriptor: Descriptor, { outcome }: PushResult): void {
    const { digest, size } = descriptor
    const all = { progress: size, total: size }
    if (outcome !== 'pushed') return this.#tell('already exists', descriptor, all)
    return this.#tell('complete', descriptor, { parents: this.#parents.get(digest), ...all })
  }

  #tell(event: string, descriptor: Descriptor, more: Omit<Parameters<ReportProgress>[0], 'event'>) {
    this.#report({ event, name: refKey(descriptor), ...more, descriptor })
  }
}
