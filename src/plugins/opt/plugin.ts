import { mkdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'

import { definePlugin } from '#plugin/plugin.ts'
import { InternalPlugin } from '#plugins/types.ts'

/**
 * `io.containerd.internal.v1.opt`: a directory for programs and libraries that come out of images.
 * `ctr install` asks where it is, and puts them there; what the daemon starts finds them first.
 *
 * Source: upstream `plugins/services/opt`.
 */
export const optPlugin = definePlugin({
  type: InternalPlugin,
  id: 'opt',
  config: { path: '/opt/containerd' },
  describe: { path: 'where `ctr install` puts programs (bin) and libraries (lib)' },
  async init({ config, meta }) {
    meta.exports['path'] = config.path
    await using scope = new AsyncDisposableStack()
    for (const [name, variable] of [
      ['bin', 'PATH'],
      ['lib', 'LD_LIBRARY_PATH'],
    ] as const) {
      const directory = join(config.path, name)
      mkdirSync(directory, { recursive: true, mode: 0o711 })
      scope.use(putFirst(variable, directory))
    }
    return scope.move()
  },
})

/** Puts `directory` in front of a list of them in the environment, until the result is disposed. */
function putFirst(variable: string, directory: string): Disposable {
  const entries = (): string[] => (process.env[variable] ?? '').split(delimiter).filter(Boolean)
  // An empty entry would be the working directory.
  process.env[variable] = [directory, ...entries()].join(delimiter)
  return {
    [Symbol.dispose]() {
      const left = entries()
      const at = left.indexOf(directory)
      if (at !== -1) left.splice(at, 1)
      if (left.length === 0) delete process.env[variable]
      else process.env[variable] = left.join(delimiter)
    },
  }
}
