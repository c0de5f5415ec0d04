/**
 * One mount, described as in fstab; performing it is for `sys`.
 *
 * `target` is relative to the root file system being put together; empty for the root itself.
 */
export interface Mount {
  readonly type: string
  readonly source: string
  readonly target?: string
  readonly options: readonly string[]
}
