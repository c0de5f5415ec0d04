import type { ImageVerifier } from '#core/verification/verification.ts'
import { describe } from '#lib/errors/errors.ts'
import type { PluginStatus } from '#plugin/plugin.ts'
import { ImageVerifierPlugin } from '#plugins/types.ts'

/**
 * The verifiers that run, and, for each that has failed to start, one that refuses: a pull that nobody
 * has looked at must not pass because of a failure. In containerd there are no transfers then.
 */
export function everyVerifier(
  running: ReadonlyMap<string, ImageVerifier>,
  plugins: readonly PluginStatus[],
): ReadonlyMap<string, ImageVerifier> {
  const failed = plugins.filter(
    ({ plugin, state }) => state === 'failed' && plugin.type.name === ImageVerifierPlugin.name,
  )
  const refusing = failed.map(({ plugin, error }): [string, ImageVerifier] => {
    const reason = `it has not started, so nothing is pulled: ${describe(error)}`
    return [plugin.id, { verify: async () => await Promise.resolve({ ok: false, reason }) }]
  })
  return new Map([...running, ...refusing])
}
