import { readdirSync, readFileSync, realpathSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

import { failedPrecondition } from '#lib/errors/errors.ts'

import { isErrno } from './errno.ts'

/** How often the kernel is asked, in ms. */
const pollMs = 10

/** The block devices that are made of `file` now. @throws {SystemError} when there is no such file. */
export function loopDevicesOf(file: string): readonly string[] {
  const path = realpathSync(file)
  const names = readdirSync('/sys/block').filter((name) => name.startsWith('loop'))
  return names.filter((name) => backingFile(name) === path).map((name) => `/dev/${name}`)
}

/**
 * Waits until no block device is made of `file`: then whatever was written through one is in it, and
 * another may be. Two at once, one of them written to, ruin the file system in it.
 *
 * @throws `failed_precondition` when one stays for `ms`; the reason of the signal.
 */
export async function whenDetached(
  file: string,
  { signal, ms }: { readonly signal: AbortSignal; readonly ms: number },
): Promise<void> {
  const latest = performance.now() + ms
  for (let devices = loopDevicesOf(file); devices.length > 0; devices = loopDevicesOf(file)) {
    if (performance.now() > latest) {
      throw failedPrecondition(`${file} is in use, as ${devices.join(', ')}`)
    }
    await sleep(pollMs, undefined, { signal })
  }
}

function backingFile(name: string): string | undefined {
  try {
    return readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trimEnd()
  } catch (err) {
    if (!isErrno(err, 'ENOENT', 'ENXIO')) throw err
    return undefined
  }
}
