import { checked, cString, native } from './libc.ts'

/** The arguments of mount(2). */
export interface MountArguments {
  readonly source?: string
  readonly target: string
  readonly type?: string
  /** Bits of `MountFlag`. */
  readonly flags?: number
  readonly data?: string
}

export interface UnmountOptions {
  /** Take it out of sight now, and let it go when its last user does. */
  readonly detach?: boolean
  /** Refuse to follow a symbolic link at the target. */
  readonly noFollow?: boolean
}

type Text = string | Uint8Array | null

const cMount: (...args: [Text, Text, Text, number, Text]) => number = native(
  'int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)',
)
const cUmount2: (...args: [Text, number]) => number = native(
  'int umount2(const char *target, int flags)',
)

const MNT_DETACH = 2
const UMOUNT_NOFOLLOW = 8

/** mount(2). @throws {SystemError} */
export function mount(args: MountArguments): void {
  const { source = '', target, type = '', flags = 0, data = '' } = args
  const result = cMount(cString(source), cString(target), cString(type), flags, cString(data))
  checked(result, 'mount', { path: source === '' ? target : source, dest: target })
}

/** umount2(2). @throws {SystemError} `EINVAL` when nothing is mounted there. */
export function unmount(target: string, options: UnmountOptions = {}): void {
  const flags = (options.detach ? MNT_DETACH : 0) | (options.noFollow ? UMOUNT_NOFOLLOW : 0)
  checked(cUmount2(cString(target), flags), 'umount2', { path: target })
}
