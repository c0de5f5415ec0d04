import { type FileHandle, open } from 'node:fs/promises'

import type { ComingBlob } from '#core/diff/diff.ts'

/** The file of a blob that is still coming, kept open: when all has come, it gets another name. */
export class ComingFile implements AsyncDisposable {
  readonly blob: ComingBlob
  readonly #file: FileHandle

  get size(): number {
    return this.blob.size
  }

  private constructor(file: FileHandle, blob: ComingBlob) {
    this.#file = file
    this.blob = { ...blob, path: `/proc/self/fd/${file.fd}` }
  }

  /** @throws the system error, when it has its other name already. */
  static async open(blob: ComingBlob): Promise<ComingFile> {
    return new ComingFile(await open(blob.path), blob)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close()
  }
}
