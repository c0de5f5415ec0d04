import { notFound } from '#lib/errors/errors.ts'

import type { Exit } from './reaper.ts'
import type { StdioPaths } from './stdio/stdio.ts'

export type ProcessStatus = 'created' | 'running' | 'pausing' | 'paused' | 'stopped' | 'deleted'

/** What init processes and execs have in common, for the service. */
export interface TaskProcess {
  /** Empty for the init process. */
  readonly execId: string
  readonly stdio: StdioPaths
  /** 0 before there is one. */
  readonly pid: number
  readonly status: ProcessStatus
  /** Once it has ended. */
  readonly exit: Exit | undefined
  /** Resolves when it has ended. */
  readonly exited: Promise<Exit>
}

/** The refusal of an operation that does not fit the status. Source: upstream `init_state.go`. */
export function refuse(verb: string, status: ProcessStatus): Error {
  const message = wording(verb, status)
  return status === 'deleted' && (verb === 'delete' || verb === 'kill')
    ? notFound(message)
    : new Error(message)
}

function wording(verb: string, status: ProcessStatus): string {
  if (verb === 'exec') return `cannot exec in a ${status} state`
  if (verb === 'checkpoint' && status === 'created')
    return 'cannot checkpoint a task in created state'
  if (status === 'created') return `cannot ${verb} task in created state`
  const container =
    (verb === 'pause' && status === 'paused') ||
    (status === 'stopped' && ['pause', 'resume', 'update', 'checkpoint', 'resize'].includes(verb))
  return `cannot ${verb} a ${status} ${container ? 'container' : 'process'}`
}
