import { parseRegexpSyntax } from './regexp-syntax.ts'
import { compileProgram, runProgram } from './regexp-program.ts'

/**
 * Compiles a regular expression of Go's RE2 syntax; what it gives says whether a text has a match.
 *
 * JavaScript's own engine is not used: its syntax differs, and a hostile pattern can make it
 * backtrack for hours on the thread that serves everybody. This one takes time proportional to
 * pattern × text, as RE2 does.
 *
 * @throws {Error} in the words of Go's `regexp/syntax`, when `source` is none.
 */
export function compileRegexp(source: string): (text: string) => boolean {
  const program = compileProgram(parseRegexpSyntax(source))
  return (text) => runProgram(program, text)
}
