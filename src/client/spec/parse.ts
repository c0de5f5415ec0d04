import type { Any } from '#core/any/any.ts'
import { parseObject, record } from '#core/images/oci.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

import type { Process } from './types.ts'

/**
 * The process of a stored spec. Fields that this client does not know stay in it, so that what is
 * made from it is as confined as the container's first process.
 *
 * @throws `invalid_argument` when there is none.
 */
export function parseProcess(spec: Any): Process {
  const process = record(parseObject(spec.value, 'spec')['process'])
  if (isProcess(process)) return { ...process, env: process.env ?? [] }
  throw invalidArgument('spec has no process')
}

/** The runtime has taken it already: this only tells it from something else. */
const isProcess = (value: object): value is Process =>
  'args' in value && Array.isArray(value.args) && 'cwd' in value && 'user' in value
