import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'

import { validateIdentifier } from '#core/identifiers/identifiers.ts'
import { failedPrecondition, notFound } from '#lib/errors/errors.ts'

import { emptyCatalog, readCatalog } from './catalog.ts'
import { checkBlobs } from './checks/blobs.ts'
import { checkDirectories } from './checks/directories.ts'
import { checkImages } from './checks/images.ts'
import { checkIngests } from './checks/ingests.ts'
import { checkLayers } from './checks/layers.ts'
import { checkLinks } from './checks/links.ts'
import { checkMetadata } from './checks/metadata.ts'
import { checkRecords } from './checks/records.ts'
import { checkRuntime } from './checks/runtime.ts'
import type { Examination } from './context.ts'
import { isLeft, type StoreReport } from './finding.ts'
import { Findings } from './findings.ts'
import { readImages } from './image-graph.ts'
import { openDatabases } from './open-databases.ts'
import type { Places } from './places.ts'
import { Crew } from './crew/crew.ts'

/** More threads than this wait for the disk. */
const maxWorkers = 8

export interface StoreOptions {
  readonly signal: AbortSignal
  /** Repair what can be repaired, instead of only looking. */
  readonly repair: boolean
  /** Remove the names of images that are not whole, when repairing. */
  readonly dropBrokenImages: boolean
  /** When repairing, make a `meta.db` that is missing anew, with its blobs in this namespace. */
  readonly rebuildIn?: string | undefined
  /** Look at names, records and sizes, and not into files. */
  readonly quick: boolean
  readonly onProgress?: ((progress: Progress) => void) | undefined
}

/** How far the doctor is. */
export interface Progress {
  /** What is being done: `reading blobs`. */
  readonly stage: string
  readonly done: number
  /** Bytes of this stage; 0 when it reads none that could be counted. */
  readonly total: number
}

/** How often progress is told, in ms. */
const progressMs = 100

/**
 * Examines the store of a daemon that does not run, and repairs it if asked to. Containers that still
 * run are left alone, and so is what they have mounted. Without `repair` nothing is written.
 *
 * @throws `failed_precondition` when a daemon runs on this root, or there is a `meta.db` that was to
 * be made anew; `invalid_argument` for a namespace that cannot be one; `not_found` when there is no store;
 * system errors of what cannot even be listed.
 */
export async function examineStore(places: Places, options: StoreOptions): Promise<StoreReport> {
  const began = performance.now()
  const { signal, repair, quick } = options
  checkOptions(places, options)
  if (!existsSync(places.root)) throw notFound(`there is no store at ${places.root}`)
  const findings = new Findings()
  await using databases = await openDatabases(places, { signal, repair, quick, findings })
  const { metadata, backends } = databases
  await using crew = new Crew(Math.min(availableParallelism(), maxWorkers))
  using stages = new Stages(crew, options.onProgress)
  const catalog = metadata ? readCatalog(metadata.database, metadata.whole) : emptyCatalog()
  const exam: Examination = {
    signal,
    places,
    findings,
    crew,
    metadata: metadata?.database,
    catalog,
    backends,
    images: await readImages(places.content, catalog.namespaces, signal),
    damaged: new Set(),
    quick,
    onStage: (stage, bytes) => stages.begin(stage, bytes),
    counts: { blobs: 0, blobBytes: 0, snapshots: 0, layers: 0, files: 0 },
  }
  await check(exam, options)
  if (repair) {
    stages.begin('repairing', 0)
    await findings.repair(signal)
  }
  return report(exam, { repair, seconds: (performance.now() - began) / 1000 })
}

function checkOptions(places: Places, { rebuildIn }: StoreOptions): void {
  if (rebuildIn === undefined) return
  validateIdentifier(rebuildIn)
  if (!existsSync(places.metadata)) return
  throw failedPrecondition(
    `there is a ${places.metadata}: it is made anew only where it is missing`,
  )
}

/** What later checks take for granted, earlier ones have looked at. */
async function check(
  exam: Examination,
  { dropBrokenImages, rebuildIn }: StoreOptions,
): Promise<void> {
  checkRecords(exam)
  const blobs = await checkBlobs(exam)
  checkMetadata(exam, blobs, rebuildIn)
  await checkIngests(exam)
  checkImages(exam, { dropBroken: dropBrokenImages })
  for (const backend of exam.backends) {
    checkLinks(exam, backend)
    const homeless = await checkDirectories(exam, backend)
    await checkLayers(exam, backend, homeless)
  }
  await checkRuntime(exam)
}

function report(
  exam: Examination,
  { repair, seconds }: { readonly repair: boolean; readonly seconds: number },
): StoreReport {
  const { catalog, counts, places, quick } = exam
  const findings = exam.findings.list()
  const { namespaces } = catalog
  return {
    format: 1,
    root: places.root,
    state: places.state,
    quick,
    repair,
    sound: !findings.some(isLeft),
    seconds: Number(seconds.toFixed(3)),
    checked: {
      namespaces: namespaces.length,
      images: namespaces.reduce((sum, { images }) => sum + images.length, 0),
      containers: namespaces.reduce((sum, { containers }) => sum + containers.size, 0),
      ...counts,
    },
    findings,
  }
}

/** Tells of progress from time to time. */
class Stages implements Disposable {
  readonly #crew: Crew
  readonly #onProgress: StoreOptions['onProgress']
  readonly #timer: NodeJS.Timeout | undefined
  #stage = 'reading records'
  #total = 0
  #before = 0

  constructor(crew: Crew, onProgress: StoreOptions['onProgress']) {
    this.#crew = crew
    this.#onProgress = onProgress
    if (onProgress) this.#timer = setInterval(() => this.#tell(), progressMs)
  }

  begin(stage: string, bytes: number): void {
    this.#before = this.#crew.bytesRead
    this.#stage = stage
    this.#total = bytes
    this.#tell()
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }

  #tell(): void {
    const done = this.#crew.bytesRead - this.#before
    this.#onProgress?.({ stage: this.#stage, done, total: this.#total })
  }
}
