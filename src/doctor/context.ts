import type { Backend } from './backend.ts'
import type { Catalog } from './catalog.ts'
import type { Findings } from './findings.ts'
import type { ImageGraph } from './image-graph.ts'
import type { Places } from './places.ts'
import type { Crew } from './crew/crew.ts'
import type { Database } from '#lib/bolt/database.ts'

/** What every check works with. */
export interface Examination {
  readonly signal: AbortSignal
  readonly places: Places
  readonly findings: Findings
  readonly crew: Crew
  /** `meta.db`; undefined when there is none, or it cannot be opened. */
  readonly metadata: Database | undefined
  readonly catalog: Catalog
  readonly backends: readonly Backend[]
  readonly images: ImageGraph
  /** Digests of blobs that are not what they say. */
  readonly damaged: Set<string>
  readonly quick: boolean
  /** Told of each stretch of work: what it is, and how many bytes it will read. */
  readonly onStage: (stage: string, bytes: number) => void
  readonly counts: Counts
}

/** What a report tells of how much was looked at. */
export interface Counts {
  blobs: number
  blobBytes: number
  snapshots: number
  layers: number
  files: number
}
