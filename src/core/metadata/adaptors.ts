import type { Container } from '#core/containers/containers.ts'
import type { Image } from '#core/images/images.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { Lease } from '#core/leases/leases.ts'
import type { Sandbox } from '#core/sandbox/controller.ts'
import type { Info as SnapshotInfo } from '#core/snapshots/snapshotter.ts'
import type { Adaptor } from '#lib/filters/filters.ts'

/*
 * Which fields of each object a filter can name. Source: upstream `core/metadata/adaptors.go`.
 */

export const adaptContainer =
  (container: Container): Adaptor =>
  ([field, ...rest]) => {
    if (field === 'id') return present(container.id)
    if (field === 'runtime' && rest[0] === 'name') return present(container.runtime.name)
    if (field === 'image') return present(container.image)
    return field === 'labels' ? label(container.labels, rest) : undefined
  }

export const adaptImage =
  ({ name, target, labels }: Image): Adaptor =>
  ([field, ...rest]) => {
    if (field === 'name') return present(name)
    if (field === 'target' && rest[0] === 'digest') return present(target.digest)
    if (field === 'target' && rest[0] === 'mediatype') return present(target.mediaType)
    if (field === 'annotations') return label(target.annotations ?? {}, rest)
    return field === 'labels' ? label(labels, rest) : undefined
  }

export const adaptLease =
  (lease: Lease): Adaptor =>
  ([field, ...rest]) => {
    if (field === 'id') return present(lease.id)
    return field === 'labels' ? label(lease.labels, rest) : undefined
  }

export const adaptSandbox =
  (sandbox: Sandbox): Adaptor =>
  ([field, ...rest]) => {
    if (field === 'id') return sandbox.id
    return field === 'labels' ? label(sandbox.labels, rest) : undefined
  }

export const adaptSnapshot =
  (info: SnapshotInfo): Adaptor =>
  ([field, ...rest]) => {
    if (field === 'kind') return info.kind
    if (field === 'name') return info.name
    if (field === 'parent') return info.parent
    return field === 'labels' ? label(info.labels, rest) : undefined
  }

const present = (text: string): string | undefined => (text === '' ? undefined : text)

/** The dots in a label's key look like a path: put them back. */
const label = (labels: Labels, path: readonly string[]): string | undefined =>
  Object.hasOwn(labels, path.join('.')) ? labels[path.join('.')] : undefined
