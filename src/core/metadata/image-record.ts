import type { Descriptor, Image, NewImage } from '#core/images/images.ts'
import type { Bucket, ReadBucket } from '#lib/bolt/database.ts'
import { digestFault } from '#lib/digest/digest.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

import {
  readLabels,
  readMap,
  readSize,
  readText,
  readTimes,
  writeLabels,
  writeMap,
  writeSize,
  writeTime,
} from './fields.ts'
import { maskMap, withoutEmpty } from './masks.ts'
import { checkLabels, quote } from './wrap.ts'

/** @throws `invalid_argument`, naming the field. */
export function validateImage(image: NewImage): void {
  if (image.name === '') throw invalidArgument('image name must not be empty')
  checkLabels('image.Labels', image.labels)
  validateTarget(image.target)
}

function validateTarget({ digest, size, mediaType }: Descriptor): void {
  const fault = digestFault(digest)
  if (fault !== undefined) throw invalidArgument(`target.Digest ${quote(digest)} invalid: ${fault}`)
  if (size <= 0) throw invalidArgument('target.Size must be greater than zero')
  if (mediaType === '') throw invalidArgument('target.MediaType must be set')
}

/**
 * `current` with the fields of `given` that `paths` names; without paths, `given` itself.
 *
 * @throws `invalid_argument` for an unknown field.
 */
export function maskImage(current: Image, given: NewImage, paths: readonly string[]): NewImage {
  if (paths.length === 0) return given
  let updated: NewImage = current
  for (const path of paths) updated = { ...updated, ...maskField(updated, given, path) }
  return updated
}

function maskField(current: NewImage, given: NewImage, path: string): Partial<NewImage> {
  if (path === 'target') return { target: given.target }
  const labels = maskMap(path, 'labels', {
    current: current.labels,
    given: given.labels,
    missing: '',
  })
  if (labels) return { labels }
  const annotations = maskMap(path, 'annotations', {
    current: current.target.annotations ?? {},
    given: given.target.annotations ?? {},
    missing: '',
  })
  if (annotations) return { target: { ...current.target, annotations } }
  throw invalidArgument(`cannot update ${quote(path)} field on image ${quote(given.name)}`)
}

export function readImage(bucket: ReadBucket, name: string): Image {
  const target = bucket.bucket('target')
  if (!target) throw new Error('unable to read target bucket')
  const annotations = readMap(bucket, 'annotations')
  return {
    name,
    labels: readLabels(bucket),
    target: {
      mediaType: readText(target, 'mediatype'),
      digest: readText(target, 'digest'),
      size: readSize(target),
      ...(Object.keys(annotations).length > 0 ? { annotations } : {}),
    },
    ...readTimes(bucket),
  }
}

/** Writes everything but `createdAt`, and answers what a reader will get of it. */
export function writeImage(bucket: Bucket, image: NewImage, updatedAt: Date): NewImage {
  const { target } = image
  const labels = withoutEmpty(image.labels)
  const annotations = withoutEmpty(target.annotations ?? {})
  writeTime(bucket, 'updatedat', updatedAt)
  writeLabels(bucket, labels)
  writeMap(bucket, 'annotations', annotations)
  const inner = bucket.createBucketIfNotExists('target')
  inner.put('digest', target.digest)
  inner.put('mediatype', target.mediaType)
  writeSize(inner, target.size)
  return { name: image.name, labels, target: { ...target, annotations } }
}
