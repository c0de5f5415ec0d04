import { open, rename, rm } from 'node:fs/promises'
import { dirname, basename, join } from 'node:path'

/**
 * Writes `bytes` to a file that appears, or replaces the one that is there, when they are complete.
 *
 * @returns how many there were.
 */
export async function createFile(path: string, bytes: AsyncIterable<Uint8Array>): Promise<number> {
  const part = join(dirname(path), `.${basename(path)}.${process.pid}.part`)
  let size = 0
  try {
    {
      await using file = await open(part, 'wx')
      for await (const chunk of bytes) {
        await file.writeFile(chunk)
        size += chunk.length
      }
      await file.sync()
    }
    await rename(part, path)
    return size
  } catch (err) {
    await rm(part, { force: true })
    throw err
  }
}
