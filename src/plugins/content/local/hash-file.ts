import type { FileHandle } from 'node:fs/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'

import type { Hasher } from '#lib/digest/digest.ts'

/** Bytes hashed in one go: about a millisecond, so that others get their turn in between. */
const sliceBytes = 1 << 20

/** Adds the bytes of `file` from its start to `hasher`. @returns how many there were. */
export async function hashFile(
  file: FileHandle,
  hasher: Hasher,
  signal?: AbortSignal,
): Promise<number> {
  const buffer = Buffer.allocUnsafeSlow(sliceBytes)
  for (let offset = 0; ; ) {
    signal?.throwIfAborted()
    const { bytesRead } = await file.read(buffer, 0, buffer.length, offset)
    if (bytesRead === 0) return offset
    hasher.update(buffer.subarray(0, bytesRead))
    offset += bytesRead
  }
}

/** Adds `bytes` to `hasher`, letting others have their turn when there are many. */
export async function hashBytes(bytes: Uint8Array, hasher: Hasher): Promise<void> {
  for (let at = 0; at < bytes.length; at += sliceBytes) {
    if (at > 0) await nextTurn()
    hasher.update(bytes.subarray(at, at + sliceBytes))
  }
}
