import { closeSync, openSync, statSync } from 'node:fs'

import { invalidArgument } from '#lib/errors/errors.ts'
import { formatIdMap, parseIdMap } from '#lib/id-map/id-map.ts'

import { unmount } from './mount-call.ts'
import { MountFlag, type ParsedOptions } from './mount-flags.ts'
import { mountOne, type MountSpec } from './mount-one.ts'
import { attachTree, cloneTree, mapIds, MountAttribute } from './mount-tree.ts'
import { beside, joinOverlayOptions, splitOverlayOptions } from './overlay-options.ts'
import { openUserNamespace } from './user-namespace.ts'

const O_PATH = 0o10000000

/**
 * Mounts one thing so that its files are seen to belong to other users than they do on disk: to
 * those outside a user namespace that their owners inside it are.
 *
 * @throws `invalid_argument` for a map that is none; {SystemError} `EINVAL` for a file system that can't.
 */
export function mountMapped(spec: MountSpec, options: ParsedOptions, target: string): void {
  const { uidMap, gidMap } = options
  if (uidMap === '' || gidMap === '') {
    throw invalidArgument(
      `mount options "uidmap" and "gidmap" go together, and ${uidMap === '' ? '"uidmap"' : '"gidmap"'} is missing`,
    )
  }
  const [users, groups] = [uidMap, gidMap].map((text) => formatIdMap(parseIdMap(text)))
  using opened = new DisposableStack()
  const namespace = openUserNamespace(users ?? '', groups ?? '')
  opened.defer(() => closeSync(namespace))
  if (spec.type === 'overlay') mountMappedOverlay(spec, { options, target, namespace })
  else mountMappedTree(spec, { options, target, namespace })
}

interface Mapping {
  readonly options: ParsedOptions
  readonly target: string
  readonly namespace: number
}

function mountMappedTree(spec: MountSpec, { options, target, namespace }: Mapping): void {
  const recursive = (options.flags & MountFlag.recursive) !== 0
  mountOne(spec, options, target)
  using undo = new DisposableStack()
  undo.defer(() => unmount(target, { detach: true }))
  using closing = new DisposableStack()
  const tree = cloneTree(target, { recursive })
  closing.defer(() => closeSync(tree))
  mapIds(tree, { namespace, recursive })
  undo.dispose()
  attachTree(tree, target)
}

/**
 * An overlay can't be mapped; what is below it can. The directories below are reached through a
 * mapped mount of what holds them all, with those of them that are mounts themselves. It is at
 * `target` itself for as long as this takes: a crash leaves nothing where nobody looks. The upper
 * directory has the ids of those who write.
 */
function mountMappedOverlay(spec: MountSpec, { options, target, namespace }: Mapping): void {
  const { lower, others } = splitOverlayOptions(options.data)
  const { common, names } = beside(lower)
  if (common === '/') {
    throw invalidArgument(`mapped overlay of directories that have only "/" in common`)
  }
  using undo = new DisposableStack()
  using closing = new DisposableStack()
  const recursive = lower.some((dir) => statSync(dir).dev !== statSync(common).dev)
  const layers = cloneTree(common, { recursive })
  closing.defer(() => closeSync(layers))
  mapIds(layers, { namespace, recursive, attributes: MountAttribute.readonly })
  attachTree(layers, target)
  undo.defer(() => unmount(target, { detach: true }))
  const place = openSync(target, O_PATH)
  closing.defer(() => closeSync(place))

  const mapped = names.map((name) => `/proc/self/fd/${place}/${name}`)
  const data = joinOverlayOptions({ lower: mapped, others })
  mountOne(spec, { ...options, data }, target)
  undo.defer(() => unmount(target, { detach: true }))
  const overlay = cloneTree(target)
  closing.defer(() => closeSync(overlay))
  undo.dispose()
  attachTree(overlay, target)
}
