import { nameAnnotation, refNameAnnotation } from '#core/images/archive/layout.ts'
import type { NewImage } from '#core/images/images.ts'
import type { ManifestEntry } from '#core/images/oci.ts'
import type { Labels } from '#core/labels/labels.ts'

import type { ImageReference, ImageTarget } from './transfer.ts'

/**
 * The images that an entry of an archive's index becomes, for each prefix of `into`: under the name that
 * the entry has, under its digest, or both.
 *
 *     entry says                 prefix `p`              … that may be overwritten
 *     name `p:1` or `p/x:1`      that name               that name
 *     name `q:1`                 none                    that name
 *     ref.name `1`               `p:1`                   `p:1`
 *     nothing                    none; with addDigest `p@<digest>`
 *
 * Source: upstream `core/transfer/image/imagestore.go`, `Store`; `core/images/archive/reference.go`.
 */
export function archivedImages(entry: ManifestEntry, into: ImageTarget): readonly NewImage[] {
  const { mediaType, digest, size, annotations } = entry
  const target = { mediaType, digest, size, annotations }
  const { labels = {} } = into
  return (into.extraReferences ?? [])
    .filter(({ isPrefix }) => isPrefix)
    .flatMap((reference) => namesOf(entry, reference))
    .map((name) => ({ name, labels, target }))
}

function namesOf({ annotations, digest }: ManifestEntry, reference: ImageReference): string[] {
  const name = nameOf(annotations ?? {}, reference)
  const byDigest = `${reference.name}@${digest}`
  if (name === '') return reference.addDigest ? [byDigest] : []
  return reference.addDigest && !reference.skipNamedDigest ? [name, byDigest] : [name]
}

function nameOf(annotations: Labels, reference: ImageReference): string {
  const full = annotations[nameAnnotation] ?? ''
  // A complete name is taken as it is or not at all.
  if (full !== '') return translated(full, reference) === full ? full : ''
  const short = annotations[refNameAnnotation] ?? ''
  return short === '' ? '' : translated(short, reference)
}

/** A tag with the prefix before it; a longer name if it may be used. */
function translated(name: string, { name: prefix, allowOverwrite }: ImageReference): string {
  if (prefix === '') return ''
  if (!/[/:@]/.test(name)) return `${prefix}:${name}`
  return allowOverwrite || hasPrefix(name, prefix) ? name : ''
}

/** A prefix ends where a part of the name ends. */
const hasPrefix = (name: string, prefix: string): boolean =>
  name === prefix || ['/', ':', '@'].some((end) => name.startsWith(`${prefix}${end}`))
