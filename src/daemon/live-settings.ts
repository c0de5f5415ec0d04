import type { StreamProcessor } from '#core/diff/processors.ts'
import { type Settings, unnamedTimeoutMs } from '#plugin/settings.ts'

import type { Config } from './config/config.ts'

/** The settings of a running daemon: those of the configuration it was given last. */
export class LiveSettings implements Settings {
  #config: Config

  constructor(config: Config) {
    this.#config = config
  }

  timeout(name: string): number {
    return this.#config.timeouts.get(name) ?? unnamedTimeoutMs
  }

  streamProcessors(): readonly StreamProcessor[] {
    return this.#config.streamProcessors
  }

  apply(config: Config): void {
    this.#config = config
  }
}
