import { existsSync } from 'node:fs'

import { find, imagesOf } from '#core/metadata/schema.ts'
import { blobPath } from '#plugins/content/local/layout.ts'

import type { Examination } from '#doctor/context.ts'
import type { Part } from '#doctor/image-graph.ts'
import type { Repair } from '#doctor/findings.ts'
import { fetchCommands } from '#doctor/words.ts'

/**
 * Whether all of every image is there and sound. It runs after the blobs were read, so that it knows
 * which of them are damaged.
 */
export function checkImages(exam: Examination, options: { readonly dropBroken: boolean }): void {
  const byImage = Map.groupBy(exam.images.parts, ({ namespace, image }) => `${namespace}\0${image}`)
  for (const parts of byImage.values()) checkImage(exam, parts, options.dropBroken)
}

function checkImage(exam: Examination, parts: readonly Part[], dropBroken: boolean): void {
  const [first] = parts
  if (!first) return
  const bad = parts.flatMap((part) => {
    const why = faultOf(exam, part)
    return why === undefined ? [] : [{ part, why }]
  })
  if (bad.length === 0) return
  const gone = bad.filter(({ part }) => !isDiscarded(exam, part))
  const { namespace, image } = first
  const details = bad.map(({ part, why }) => `${part.role} ${part.descriptor.digest} ${why}`)
  if (gone.length === 0) {
    exam.findings.add({
      kind: 'image-incomplete',
      level: 'note',
      what: `image ${image} is unpacked, and ${bad.length} of its layers are not kept`,
      where: `image ${image}`,
      namespace,
      details,
      consequence: 'containers run from it; it cannot be exported, pushed or unpacked elsewhere',
      advice: `nothing, or ${fetchCommands([first])}`,
    })
    return
  }
  const foreign = gone.every(({ part }) => part.foreign)
  const drop = dropBroken ? dropImage(exam, first) : undefined
  exam.findings.add(
    {
      kind: 'image-incomplete',
      level: foreign ? 'warning' : 'error',
      what: `image ${image} is not whole: ${gone.length} of the ${parts.length} blobs it needs are missing or damaged`,
      where: `image ${image}`,
      namespace,
      details: details.slice(0, 10),
      consequence: foreign
        ? 'it cannot be unpacked or exported for another kind of machine'
        : 'it cannot be unpacked, exported or pushed, and perhaps not run',
      advice:
        `have a daemon fetch it again: ctr -n ${namespace} image pull ${image}` +
        (dropBroken ? '' : ', or remove its name with --drop-broken-images'),
    },
    drop,
  )
}

function faultOf(exam: Examination, part: Part): string | undefined {
  const { digest } = part.descriptor
  if (!existsSync(blobPath(exam.places.content, digest, 'doctor'))) return 'is missing'
  if (exam.damaged.has(digest)) return 'is damaged'
  return exam.images.faults.find((fault) => fault.part === part)?.why
}

/** Whether a layer that is not kept has been unpacked in the image's namespace. */
function isDiscarded(exam: Examination, { namespace, role, chainId }: Part): boolean {
  if (role !== 'layer' || chainId === '') return false
  const owner = exam.catalog.namespaces.find(({ name }) => name === namespace)
  return owner?.snapshots.values().some((snapshots) => snapshots.has(chainId)) === true
}

function dropImage(exam: Examination, { namespace, image }: Part): Repair {
  return {
    step: 'images',
    run: async () => {
      await exam.metadata?.update((tx) => {
        const images = find(tx, imagesOf(namespace))
        if (images?.bucket(image)) images.deleteBucket(image)
      }, exam)
      return {
        repaired: true,
        text: `its name is removed; ctr -n ${namespace} image pull ${image}`,
      }
    },
  }
}
