import type { Outlet } from './outlet.ts'
import type { TerminalInput } from './terminal-input.ts'
import { TerminalOutput } from './terminal-output.ts'

/** What is copied between a terminal and the client's ends, which are open before there is one. */
export class TerminalCopy implements Disposable {
  readonly #input: TerminalInput
  readonly #outlet: Outlet
  #output: TerminalOutput | undefined

  /** Owns neither. */
  constructor(input: TerminalInput, outlet: Outlet) {
    this.#input = input
    this.#outlet = outlet
  }

  /** Owns `master`, which must not block. */
  begin(master: number): void {
    this.#output = new TerminalOutput(master, this.#outlet.writer)
    this.#input.connect(this.#output)
  }

  /** The master, while it is open. */
  get master(): number | undefined {
    return this.#output?.master
  }

  closeStdin(): void {
    this.#input.closeWriter()
  }

  /** Resolves when all that was written to the terminal is where it belongs. */
  async drained(): Promise<void> {
    this.#input[Symbol.dispose]()
    await this.#output?.done
    await this.#outlet.arrived
  }

  [Symbol.dispose](): void {
    this.#output?.[Symbol.dispose]()
  }
}
