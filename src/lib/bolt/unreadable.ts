import type { BoltFile } from './file.ts'

/** `file`, where what the disk does not give back is nothing: a read that ends early. */
export function withoutErrors(file: BoltFile): BoltFile {
  return {
    path: file.path,
    size: () => file.size(),
    read(buf, position) {
      try {
        return file.read(buf, position)
      } catch {
        return 0
      }
    },
    write: async (buf, position) => await file.write(buf, position),
    truncate: async (size) => await file.truncate(size),
    sync: async (alone) => await file.sync(alone),
    close: () => file.close(),
  }
}
