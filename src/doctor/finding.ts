/**
 * What the doctor has to say. A finding is one thing that is wrong, or worth knowing, in words for
 * whoever runs the machine; a report is all of them. Both are also the JSON of `--json`, so a field
 * may be added, and none renamed. docs/doctor.md lists the kinds.
 */

/**
 * - `error`: something that was promised cannot be had, or is not what it says.
 * - `warning`: nothing is lost, and something should be tidied up or looked at.
 * - `note`: nothing is wrong.
 */
export type Level = 'error' | 'warning' | 'note'

/** What a finding is about; docs/doctor.md explains each. */
export type Kind =
  | 'blob-damaged'
  | 'blob-lost'
  | 'blob-misnamed'
  | 'blob-missing'
  | 'blob-size-wrong'
  | 'blob-unrecorded'
  | 'bundle-left'
  | 'container-image-missing'
  | 'container-snapshot-missing'
  | 'container-unrecorded'
  | 'database-damaged'
  | 'database-missing'
  | 'image-incomplete'
  | 'ingest-left'
  | 'ingest-missing'
  | 'layer-damaged'
  | 'layer-unverifiable'
  | 'lease-dangling'
  | 'record-unreadable'
  | 'runtime-directory-left'
  | 'shim-socket-left'
  | 'snapshot-backend-missing'
  | 'snapshot-child-missing'
  | 'snapshot-directory-left'
  | 'snapshot-directory-missing'
  | 'snapshot-links-wrong'
  | 'snapshot-parent-missing'
  | 'snapshot-unrecorded'
  | 'snapshotter-unchecked'
  | 'temporary-mount-left'

export interface Finding {
  readonly kind: Kind
  readonly level: Level
  /** What is wrong, in one sentence. */
  readonly what: string
  /** The file, directory or record it is about. */
  readonly where: string
  /** What follows from it for those who use the daemon. */
  readonly consequence: string
  /** What to do about it. */
  readonly advice: string
  /** The namespace whose record it is about; absent for what all share. */
  readonly namespace?: string | undefined
  /** The first of many particulars: the files of a layer that differ, for instance. */
  readonly details?: readonly string[] | undefined
  /** Whether `--repair` can do something about it. */
  readonly repairable: boolean
  /** What `--repair` did; absent when it was not asked for, or there is nothing it can do. */
  readonly outcome?: Outcome | undefined
}

export interface Outcome {
  /** Whether all is well again; when not, `text` says what is still to be done. */
  readonly repaired: boolean
  readonly text: string
}

/** How much was looked at. */
export interface Checked {
  readonly namespaces: number
  readonly images: number
  readonly containers: number
  readonly blobs: number
  /** Of the blobs that were read. */
  readonly blobBytes: number
  readonly snapshots: number
  /** Layers that were compared with the blobs they come from, and files in them. */
  readonly layers: number
  readonly files: number
}

export interface StoreReport {
  /** Of this form; a change that readers must know of raises it. */
  readonly format: 1
  readonly root: string
  readonly state: string
  readonly quick: boolean
  readonly repair: boolean
  /** Whether no error and no warning is left. */
  readonly sound: boolean
  readonly seconds: number
  readonly checked: Checked
  readonly findings: readonly Finding[]
}

/** Whether a finding is still something to act on. */
export const isLeft = ({ level, outcome }: Finding): boolean =>
  level !== 'note' && outcome?.repaired !== true
