import type { StoredSnapshot } from '#core/snapshots/storage/storage.ts'
import { describe } from '#lib/errors/errors.ts'

import { type Backend, chainOf, filesOf } from '#doctor/backend.ts'
import type { Examination } from '#doctor/context.ts'
import type { Repair } from '#doctor/findings.ts'
import type { ChainLayer } from '#doctor/image-graph.ts'
import type { LayerBlob, LayerVerdict } from '#doctor/layer/check-layer.ts'
import { type Unpacking, unpackAgain } from '#doctor/repair/layers.ts'
import { fetchCommands, listed } from '#doctor/words.ts'

import type { Homeless } from './directories.ts'
import { type SourceBlob, type Sources, sourcesOf } from './layer-sources.ts'
import { ownerOf } from './owners.ts'

/** A committed snapshot, and the layers it should hold. */
interface Layer {
  readonly backend: Backend
  readonly snapshot: StoredSnapshot
  readonly namespace: string
  /** From the bottom up: one beside lower layers, all in a tree of its own. */
  readonly layers: readonly ChainLayer[]
}

/**
 * Every committed snapshot of an image against the blobs it was unpacked from: this is what finds the
 * files that a power cut has left empty. It runs after the blobs were read.
 */
export async function checkLayers(
  exam: Examination,
  backend: Backend,
  homeless: Homeless,
): Promise<void> {
  const layers = Array.from(backend.byName.values()).flatMap((snapshot) => {
    const owner = snapshot.info.kind === 'committed' && ownerOf(exam, backend, snapshot.info.name)
    if (!owner) return []
    const chain = exam.images.chains.get(owner.key)
    const layer = { backend, snapshot, namespace: owner.namespace }
    return [{ ...layer, layers: chain ? layersOf(exam, backend, chain) : [] }]
  })
  for (const layer of layers) if (homeless.has(layer.snapshot.info.name)) await gone(exam, layer)
  if (!exam.quick) await compareAll(exam, layers, homeless)
}

function layersOf(exam: Examination, { place }: Backend, top: ChainLayer): readonly ChainLayer[] {
  if (place.name === 'overlayfs') return [top]
  const below: ChainLayer[] = []
  for (let next: ChainLayer | undefined = top; next; next = exam.images.chains.get(next.parent)) {
    below.push(next)
  }
  return below.toReversed()
}

async function gone(exam: Examination, layer: Layer): Promise<void> {
  const sources = await sourcesOf(exam, layer.layers)
  const { info, id } = layer.snapshot
  exam.findings.add(
    {
      kind: 'snapshot-directory-missing',
      level: 'error',
      what: `the files of a layer of ${imagesOf(layer)} are gone`,
      where: filesOf(layer.backend.place, id),
      namespace: layer.namespace,
      details: [`snapshot ${info.name}`],
      consequence: 'containers of the image cannot be started, and pulling it again does not help',
      advice: adviceOf(layer, sources),
    },
    repairOf(exam, layer, sources),
  )
}

async function compareAll(
  exam: Examination,
  layers: readonly Layer[],
  homeless: Homeless,
): Promise<void> {
  const work: { layer: Layer; blobs: readonly SourceBlob[] }[] = []
  for (const layer of layers) {
    if (homeless.has(layer.snapshot.info.name)) continue
    const sources = await sourcesOf(exam, layer.layers)
    if ('missing' in sources) unverifiable(exam, layer, sources.missing)
    else work.push({ layer, blobs: sources.blobs })
  }
  if (work.length === 0) return
  const bytes = work.flatMap(({ blobs }) => blobs).reduce((sum, { size }) => sum + size, 0)
  exam.onStage(`comparing layers of ${layers[0]?.backend.place.name ?? ''}`, bytes)
  // The largest first, so that none of them is what the others wait for at the end.
  const sizeOf = ({ blobs }: (typeof work)[number]): number =>
    blobs.reduce((sum, { size }) => sum + size, 0)
  await exam.crew.each(
    work.toSorted((a, b) => sizeOf(b) - sizeOf(a)),
    exam.signal,
    async (each, signal) => {
      await compare(exam, each.layer, each.blobs, signal)
    },
  )
}

async function compare(
  exam: Examination,
  layer: Layer,
  blobs: readonly SourceBlob[],
  signal: AbortSignal,
): Promise<void> {
  try {
    const verdict = await exam.crew.run<'check'>(checkJob(layer, blobs), signal)
    exam.counts.layers++
    exam.counts.files += verdict.files
    if (verdict.different > 0) damaged(exam, layer, blobs, verdict)
  } catch (err) {
    signal.throwIfAborted()
    const why = describe(err)
    // What the system says is about the directory: the blob has been read before.
    if (err instanceof Error && 'syscall' in err) unreadable(exam, layer, blobs, why)
    else unverifiable(exam, layer, `it could not be compared: ${why}`)
  }
}

const checkJob = ({ backend, snapshot }: Layer, blobs: readonly LayerBlob[]) =>
  ({
    kind: 'check',
    blobs,
    directory: filesOf(backend.place, snapshot.id),
    // Without a layer below there is nothing to hide.
    whiteouts:
      backend.place.name === 'overlayfs' && snapshot.info.parent !== '' ? 'overlay' : 'remove',
  }) as const

function damaged(
  exam: Examination,
  layer: Layer,
  blobs: readonly SourceBlob[],
  { different, differences, files }: LayerVerdict,
): void {
  const { info, id } = layer.snapshot
  exam.findings.add(
    {
      kind: 'layer-damaged',
      level: 'error',
      what: `a layer of ${imagesOf(layer)} is not what was unpacked: ${different} of ${files} files differ`,
      where: filesOf(layer.backend.place, id),
      namespace: layer.namespace,
      details: [...differences, ...(different > differences.length ? ['…'] : [])],
      consequence: 'containers of the image fail or misbehave, and pulling it again does not help',
      advice: `with --repair ${info.name.split('/').at(-1)} is unpacked again from its blob`,
    },
    repairOf(exam, layer, { blobs }),
  )
}

function unreadable(
  exam: Examination,
  layer: Layer,
  blobs: readonly SourceBlob[],
  why: string,
): void {
  const { id } = layer.snapshot
  exam.findings.add(
    {
      kind: 'layer-damaged',
      level: 'error',
      what: `a layer of ${imagesOf(layer)} cannot be read: ${why}`,
      where: filesOf(layer.backend.place, id),
      namespace: layer.namespace,
      consequence: 'containers of the image fail where they read there',
      advice: 'look into the log of the kernel for the disk; with --repair it is unpacked again',
    },
    repairOf(exam, layer, { blobs }),
  )
}

function unverifiable(exam: Examination, layer: Layer, why: string): void {
  exam.findings.add({
    kind: 'layer-unverifiable',
    level: 'note',
    what: `snapshot ${layer.snapshot.info.name} was not compared: ${why}`,
    where: filesOf(layer.backend.place, layer.snapshot.id),
    namespace: layer.namespace,
    consequence: 'whether its files are what they should be is not known',
    advice: adviceOf(layer, { missing: why }),
  })
}

function repairOf(exam: Examination, layer: Layer, sources: Sources): Repair | undefined {
  if ('missing' in sources) return undefined
  const { backend, snapshot, layers } = layer
  const below = chainOf(backend, snapshot.info.parent)
  const unpacking: Unpacking = {
    place: backend.place,
    id: snapshot.id,
    blobs: sources.blobs.map(({ path, compressed }) => ({ path, compressed })),
    diffIds: layers.map(({ diffId }) => diffId),
    below: below.map(({ id }) => filesOf(backend.place, id)),
    check: checkJob(layer, sources.blobs),
  }
  return {
    step: 'layers',
    // What is below has a lower number: directories that a layer does not name are copied from there.
    rank: Number(snapshot.id),
    run: async () => await unpackAgain(exam, unpacking),
  }
}

function adviceOf(layer: Layer, sources: Sources): string {
  if ('blobs' in sources) return 'with --repair it is unpacked again from its blob'
  const images = [...new Set(layer.layers.flatMap(({ images: names }) => [...names]))]
  if (images.length === 0) return 'nothing can be done: there is nothing to compare it with'
  const { namespace } = layer
  const commands = fetchCommands(images.map((image) => ({ namespace, image })))
  return `have a daemon fetch the blobs again (${commands}), stop it, and run the doctor again`
}

const imagesOf = ({ layers, snapshot }: Layer): string => {
  const images = layers.flatMap(({ images: names }) => [...names])
  return images.length > 0 ? listed(images) : `snapshot ${snapshot.info.name}`
}
