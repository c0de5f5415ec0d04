import type { Database } from '#lib/bolt/database.ts'
import { failedPrecondition } from '#lib/errors/errors.ts'

import type { Examination } from '#doctor/context.ts'

/** What changes records. */
export type Recorder = Pick<Examination, 'metadata' | 'signal'>

/** `meta.db`. @throws `failed_precondition` when there is none. */
export function databaseOf({ metadata }: Recorder): Database {
  if (metadata) return metadata
  throw failedPrecondition('without meta.db no record can be changed')
}
