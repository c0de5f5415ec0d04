import { Writable } from 'node:stream'
import { createInterface } from 'node:readline/promises'

import { invalidArgument } from '#lib/errors/errors.ts'

/**
 * Asks a person for what nobody is to see. Without a terminal it is the first line of standard input.
 *
 * @throws `invalid_argument` when nothing is given.
 */
export async function askSecret(question: string): Promise<string> {
  const isTerminal = process.stdin.isTTY
  if (isTerminal) process.stderr.write(question)
  // With an output, readline turns the echo of the terminal off; that output shows nothing.
  const dark = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input: process.stdin, output: dark, terminal: isTerminal })
  try {
    for await (const line of lines) {
      if (line !== '') return line
      break
    }
    throw invalidArgument(
      'no password was given: write it to standard input, or use --user name:password',
    )
  } finally {
    lines.close()
    if (isTerminal) process.stderr.write('\n')
  }
}
