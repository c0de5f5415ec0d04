import type { Labels } from '#core/labels/labels.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

/*
 * Labels of containers that the restart monitor keeps running, or stopped. Clients set them; `count` is
 * the monitor's. Source: upstream `core/runtime/restart`.
 */

/** What begins each of them. */
export const restartPrefix = 'containerd.io/restart.'

export const restartLabels = {
  /** `running` or `stopped`: how the task has to be. A container without it is left alone. */
  status: `${restartPrefix}status`,
  /** When a task that has to run is started again: see `parsePolicy`. */
  policy: `${restartPrefix}policy`,
  /** How often it has been. */
  count: `${restartPrefix}count`,
  /** Whether somebody stopped it on purpose, for `unless-stopped`. */
  explicitlyStopped: `${restartPrefix}explicitly-stopped`,
  /** Where the output of the next task goes; nowhere without it. */
  logUri: `${restartPrefix}loguri`,
  /** Before containerd 2.0: a file for the output. */
  logPath: `${restartPrefix}logpath`,
} as const

/** When a task is started again. */
export interface RestartPolicy {
  readonly name: 'no' | 'always' | 'on-failure' | 'unless-stopped'
  /** Of `on-failure`: how often; 0 for without end. */
  readonly maxRetries: number
}

/**
 * `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:<retries>`; an empty text is `always`.
 * @throws `invalid_argument` for any other, in upstream's words.
 */
export function parsePolicy(text: string): RestartPolicy {
  const [name = '', retries] = text.split(':')
  if (name === 'on-failure') return { name, maxRetries: countOf(retries) }
  if (name !== '' && name !== 'no' && name !== 'always' && name !== 'unless-stopped') {
    throw invalidArgument(`restart policy ${JSON.stringify(text)} not supported`)
  }
  if (retries === undefined) return { name: name || 'always', maxRetries: 0 }
  throw invalidArgument(`restart policy ${JSON.stringify(name)} not support max retry count`)
}

function countOf(retries: string | undefined): number {
  if (retries === undefined) return 0
  if (/^[+-]?\d{1,15}$/.test(retries)) return Number(retries)
  throw invalidArgument(`invalid max retry count: ${retries}`)
}

/**
 * Whether a task that does not run, and has to, is started again. `exitStatus` is 0 when nobody knows.
 *
 * @throws `invalid_argument` for labels that make no sense: then it is not.
 */
export function wantsRestart(labels: Labels, exitStatus: number): boolean {
  const { name, maxRetries } = parsePolicy(labels[restartLabels.policy] ?? '')
  if (name === 'always') return true
  if (name === 'unless-stopped') return !isTrue(labels[restartLabels.explicitlyStopped])
  if (name === 'no' || exitStatus === 0) return false
  return maxRetries === 0 || restartCount(labels) < maxRetries
}

/** How often it has been started again. @throws `invalid_argument` for what is no number. */
export function restartCount(labels: Labels): number {
  const text = labels[restartLabels.count] || '0'
  if (/^[+-]?\d{1,15}$/.test(text)) return Number(text)
  throw invalidArgument(`${restartLabels.count}: ${JSON.stringify(text)} is no number`)
}

/** As Go's `strconv.ParseBool`; what is neither is false. */
const isTrue = (text = ''): boolean => ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text)
