import { existsSync } from 'node:fs'

import type { Examination } from '#doctor/context.ts'
import { missingDatabase } from '#doctor/open-databases.ts'
import { rebuildMetadata } from '#doctor/rebuild/rebuild.ts'

import type { Blob } from './blobs.ts'

/**
 * Whether there is a `meta.db` at all. It runs after `blobs` were read, so that a new one has only
 * what is sound.
 *
 * @param rebuildIn - The namespace of a new one, if one may be made.
 */
export function checkMetadata(
  exam: Examination,
  blobs: ReadonlyMap<string, Blob>,
  rebuildIn: string | undefined,
): void {
  const { metadata } = exam.places
  if (existsSync(metadata)) return
  const { advice, ...finding } = missingDatabase(metadata)
  const sound = new Map([...blobs].filter(([digest]) => !exam.damaged.has(digest)))
  exam.findings.add(
    {
      ...finding,
      advice: `${advice}. Without a copy, --repair --rebuild NAMESPACE makes a new file from blobs and snapshots`,
    },
    rebuildIn === undefined
      ? undefined
      : { step: 'records', run: async () => await rebuildMetadata(exam, rebuildIn, sound) },
  )
}
