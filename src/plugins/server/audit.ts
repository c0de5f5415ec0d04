import { isAbsolute } from 'node:path'

import { invalidArgument } from '#lib/errors/errors.ts'
import { SkipPlugin, definePlugin } from '#plugin/plugin.ts'
import { AuditPlugin } from '#plugins/types.ts'

import { mutates } from './access/methods.ts'
import { type Chosen, auditor } from './audit/observe.ts'
import { type AuditSink, fileSink, stderrSink } from './audit/sink.ts'

/** `[audit]` in config.toml. */
export interface AuditConfig {
  /** `off`, `mutations` or `all`. */
  readonly level: string
  /** The file that lines are appended to; empty for standard error. */
  readonly path: string
}

const defaults: AuditConfig = { level: 'off', path: '' }

/** `io.wharf.audit.v1.log`: a line for each call of a gRPC client that changes something. */
export const auditPlugin = definePlugin({
  type: AuditPlugin,
  id: 'log',
  config: defaults,
  describe: {
    level: '"off", "mutations" for calls that may change something, or "all"',
    path: 'file that JSON lines are appended to, begun anew on SIGHUP; empty for standard error',
  },

  async init({ ctx: { log }, config }) {
    const chosen = choice(config.level)
    if (!chosen) throw new SkipPlugin('audit is off')
    const sink = await openSink(config.path, log)
    const reopen = (): void => {
      sink
        .reopen()
        .catch((err: unknown) => log.error('cannot reopen the audit log', { error: err }))
    }
    process.on('SIGHUP', reopen)
    const observer = auditor(chosen, (line) => sink.write(line))
    return {
      ...observer,
      async [Symbol.asyncDispose]() {
        process.off('SIGHUP', reopen)
        await sink[Symbol.asyncDispose]()
      },
    }
  },
})

function choice(level: string): Chosen | undefined {
  if (level === 'off') return undefined
  if (level === 'mutations') return ({ method }) => mutates(method)
  if (level === 'all') return () => true
  throw invalidArgument(`audit level "${level}" is not off, mutations or all`)
}

async function openSink(path: string, log: Parameters<typeof fileSink>[1]): Promise<AuditSink> {
  if (path === '') return stderrSink()
  if (!isAbsolute(path)) throw invalidArgument(`audit path "${path}" must be absolute`)
  return await fileSink(path, log)
}
