import { stringify } from 'smol-toml'

import type { Config } from './config.ts'
import { defaultImports } from './default.ts'
import { effectiveTable } from './effective.ts'

/**
 * `config` as a file of the latest version, with all defaults. Loading it gives the same settings.
 *
 * Source of the form: `containerd config dump`.
 */
export const dumpConfig = (config: Config): string => stringify(effectiveTable(config))

/** The configuration of a machine without a config file, as a file to begin with. */
export const dumpDefault = (config: Config): string =>
  dumpConfig({ ...config, imports: defaultImports })
