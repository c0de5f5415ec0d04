const defaultIdleMs = 10_000

/** Notices when a host has had nothing to do for a while: `WHARF_SHIM_IDLE_MS`, 10 s by default. */
export class IdleWatch {
  readonly #idleMs: number
  readonly #onIdle: () => void
  #lastUse = performance.now()

  constructor(env: NodeJS.ProcessEnv, onIdle: () => void) {
    this.#idleMs = Number(env['WHARF_SHIM_IDLE_MS']) || defaultIdleMs
    this.#onIdle = onIdle
  }

  /** Somebody has just come. */
  touch(): void {
    this.#lastUse = performance.now()
  }

  /** Looks at `isBusy` from time to time, until disposal. */
  watch(isBusy: () => boolean): Disposable {
    return setInterval(() => {
      if (isBusy()) this.touch()
      else if (performance.now() - this.#lastUse >= this.#idleMs) this.#onIdle()
    }, this.#idleMs / 4)
  }
}
