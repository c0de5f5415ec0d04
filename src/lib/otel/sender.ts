import type { OtlpSettings } from './settings.ts'

/** Why an export was not taken. */
export interface Refusal {
  readonly reason: string
  /** Whether the same may be taken later. */
  readonly isTemporary: boolean
}

/** Takes exports to a collector, one after the other. Disposal closes what it holds. */
export interface Sender extends AsyncDisposable {
  /**
   * Sends one export, an encoded `ExportTraceServiceRequest`.
   *
   * @returns what the collector says against it, if it does.
   * @throws what keeps it from being answered.
   */
  send(body: Uint8Array, signal: AbortSignal): Promise<Refusal | undefined>
}

/** Opens nothing yet: the first export does. */
export type OpenSender = (settings: OtlpSettings) => Sender
