/** A run that failed: how, and what it printed. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly output: string

  constructor(message: string, output: string, options?: ErrorOptions) {
    super(output ? `${message}: ${output}` : message, options)
    this.output = output
  }
}

/** A run that did not end in its time; it was killed, with what it had started. */
export class CommandTimeout extends CommandError {}
