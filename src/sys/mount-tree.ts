import { checked, cString, systemCall } from './libc.ts'

type Text = string | Uint8Array | null

const openTree: (...args: [number, Text, number]) => number = systemCall(428, [
  'int',
  'const char *',
  'unsigned int',
])
const moveMount: (...args: [number, Text, number, Text, number]) => number = systemCall(429, [
  'int',
  'const char *',
  'int',
  'const char *',
  'unsigned int',
])
const mountSetattr: (...args: [number, Text, number, BigUint64Array, number]) => number =
  systemCall(442, ['int', 'const char *', 'unsigned int', 'void *', 'size_t'])

const AT_FDCWD = -100
const AT_EMPTY_PATH = 0x1000
const AT_RECURSIVE = 0x8000
const OPEN_TREE_CLONE = 1
const OPEN_TREE_CLOEXEC = 0o2000000
const MOVE_MOUNT_F_EMPTY_PATH = 4
const MS_PRIVATE = 1n << 18n

/** MOUNT_ATTR_* of mount_setattr(2). */
export const MountAttribute = { readonly: 1, idMap: 0x100000 } as const

export interface TreeOptions {
  /** With what is mounted below it, too. */
  readonly recursive?: boolean
}

/** A copy of the mount at `path`, mounted nowhere. @returns its descriptor. @throws {SystemError} */
export function cloneTree(path: string, { recursive = false }: TreeOptions = {}): number {
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0)
  return checked(openTree(AT_FDCWD, cString(path), flags), 'open_tree', { path })
}

/** Mounts at `target` what is mounted nowhere yet. @throws {SystemError} */
export function attachTree(tree: number, target: string): void {
  const moved = moveMount(tree, '', AT_FDCWD, cString(target), MOVE_MOUNT_F_EMPTY_PATH)
  checked(moved, 'move_mount', { path: target })
}

/** Makes the mount at `path` read-only, and leaves its other attributes. Linux 5.12. @throws {SystemError} */
export function makeReadOnly(path: string): void {
  const attr = BigUint64Array.of(BigInt(MountAttribute.readonly), 0n, 0n, 0n)
  const result = mountSetattr(AT_FDCWD, cString(path), 0, attr, attr.byteLength)
  checked(result, 'mount_setattr', { path })
}

export interface IdMapOptions extends TreeOptions {
  /** A user namespace: who owns a file on disk is an id inside it, who is seen is that outside. */
  readonly namespace: number
  /** Bits of `MountAttribute` to set as well. */
  readonly attributes?: number
}

/**
 * Has a tree that is mounted nowhere show other owners than its files have, and keep its mounts to
 * itself. Linux 5.12.
 *
 * @throws {SystemError} `EINVAL` for a file system that can't.
 */
export function mapIds(tree: number, options: IdMapOptions): void {
  const { namespace, attributes = 0, recursive = false } = options
  // struct mount_attr: what to set, to clear, the propagation, the namespace.
  const set = BigInt(attributes | MountAttribute.idMap)
  const attr = BigUint64Array.of(set, 0n, MS_PRIVATE, BigInt(namespace))
  const flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0)
  checked(mountSetattr(tree, '', flags, attr, attr.byteLength), 'mount_setattr')
}
