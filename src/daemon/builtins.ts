import type { Plugin } from '#plugin/plugin.ts'

/** Everything this daemon is made of. A plugin that is not listed here does not exist. */
export const builtins: readonly Plugin[] = []
