import { open, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { failedPrecondition } from '#lib/errors/errors.ts'
import { isErrno } from '#sys/errno.ts'
import { enableVerity } from '#sys/fs-verity.ts'

/** Has the kernel keep a file as it is; one that it keeps already is fine. @throws {SystemError} */
export async function enableVerityOf(path: string): Promise<void> {
  await using file = await open(path)
  const { blksize } = await file.stat()
  try {
    await enableVerity(file.fd, blksize)
  } catch (err) {
    if (!isErrno(err, 'EEXIST')) throw err
  }
}

/** @throws `failed_precondition` when the file system of `root` has no fs-verity. */
export async function requireVerity(root: string): Promise<void> {
  const file = join(root, '.fsverity-check')
  // One that has it cannot be written to, nor can that of a daemon that was killed.
  await rm(file, { force: true })
  try {
    await writeFile(file, 'x')
    await enableVerityOf(file)
  } catch (err) {
    throw failedPrecondition(`fsverity is not supported on the file system of ${root}`, {
      cause: err,
    })
  } finally {
    await rm(file, { force: true })
  }
}
