import type { Labels } from '#core/labels/labels.ts'

import { parseReference, withoutPort } from './reference.ts'

/*
 * Where a blob came from is kept as a label of it, so that a push to the same registry can mount it
 * instead of sending it:
 *
 *   containerd.io/distribution.source.docker.io = "library/alpine,library/busybox"
 *
 * Source: upstream `core/remotes/docker/handler.go`, `pkg/labels`.
 */

const prefix = 'containerd.io/distribution.source.'
/** Of a key and its value together. Source: upstream `pkg/labels/validate.go`. */
const mostBytes = 4096

/**
 * The label that says that a blob with `labels` is in the repository of `reference`, too; nothing when
 * it would be too long.
 */
export function distributionSource(reference: string, labels: Labels): Labels {
  const { host, repository } = parseReference(reference)
  const key = prefix + withoutPort(host)
  const known = (labels[key] ?? '').split(',').filter((name) => name !== '')
  const value = [...new Set([...known, repository])].toSorted().join(',')
  return Buffer.byteLength(key) + Buffer.byteLength(value) > mostBytes ? {} : { [key]: value }
}

/**
 * The repositories of the registry of `reference` that a blob with `labels` came from, those first that
 * share most of their path with it: whoever may push there can probably read them.
 */
export function mountCandidates(reference: string, labels: Labels): readonly string[] {
  const { host, repository } = parseReference(reference)
  const own = repository.split('/')
  const shared = (name: string): number => {
    const parts = name.split('/')
    const differs = own.findIndex((part, i) => part !== parts[i])
    return differs < 0 ? own.length : differs
  }
  return (labels[prefix + withoutPort(host)] ?? '')
    .split(',')
    .filter((name) => name !== '' && name !== repository)
    .toSorted((a, b) => shared(b) - shared(a))
}
