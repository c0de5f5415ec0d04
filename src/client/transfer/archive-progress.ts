import { archiveName, type Progress, type ReportProgress } from '#core/transfer/transfer.ts'

/** Tells how many bytes of an archive have come here, whatever the other side says of those it has sent. */
export class ArchiveProgress {
  readonly #event: 'exporting' | 'importing'
  readonly #report: ReportProgress
  #total: number
  #done = 0

  /** @param total how many bytes there are; 0 when that is not known. */
  constructor(event: 'exporting' | 'importing', total: number, report: ReportProgress) {
    this.#event = event
    this.#total = total
    this.#report = report
  }

  /** Takes from what the other side says of the whole only how many bytes there are. */
  readonly heard: ReportProgress = (progress: Progress) => {
    const { name, total = 0 } = progress
    if (name !== undefined || total === 0) return this.#report(progress)
    if (total === this.#total) return
    this.#total = total
    this.#tell(this.#event)
  }

  /** The bytes of the archive, counted. */
  async *count(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of bytes) {
      yield chunk
      this.#done += chunk.length
      this.#tell(this.#event)
    }
    this.#total = this.#done
    this.#tell('complete')
  }

  #tell(event: Progress['event']): void {
    this.#report({ event, name: archiveName, progress: this.#done, total: this.#total })
  }
}
