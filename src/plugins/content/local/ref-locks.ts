import { unavailable } from '#lib/errors/errors.ts'
import { formatDuration } from '#lib/go/duration.ts'

/** Lets one writer at a time have a ref. */
export class RefLocks {
  readonly #since = new Map<string, Date>()

  /**
   * Takes `ref` until what it returns is disposed.
   *
   * @throws `unavailable`, saying since when, which tells a stuck writer from a busy one.
   */
  lock(ref: string): Disposable {
    const since = this.#since.get(ref)
    if (since) throw locked(ref, since)
    const mine = new Date()
    this.#since.set(ref, mine)
    return {
      [Symbol.dispose]: () => {
        if (this.#since.get(ref) === mine) this.#since.delete(ref)
      },
    }
  }
}

function locked(ref: string, since: Date): Error {
  const duration = formatDuration(Date.now() - since.getTime())
  const began = since.toISOString().replace('T', ' ').replace('Z', ' +0000 UTC')
  return unavailable(`ref ${ref} locked for ${duration} (since ${began})`)
}
