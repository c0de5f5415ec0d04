import type { ActiveMount } from '#core/mount/manager.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

/**
 * The part of Go's text/template that mounts are written in:
 *
 *     text     := ( plain | "{{" ["-"] action ["-"] "}}" )*      "-" trims the white space beside it
 *     action   := function ( space number )*  |  "/*" comment "*\/"
 *     function := "mount" | "source" | "target" | "overlay"
 *
 * Source: upstream `core/mount/manager/format.go`; Go's text/template for the syntax.
 */

/** A function of templates: of how many numbers, and what it gives. */
interface Func {
  readonly arity: number
  call(active: readonly ActiveMount[], args: readonly number[]): string
}

const field = (name: 'mountPoint' | 'source' | 'target'): Func => ({
  arity: 1,
  call: (active, [at = 0]) => nth(active, at)[name] ?? '',
})

const functions = new Map<string, Func>([
  ['mount', field('mountPoint')],
  ['source', field('source')],
  ['target', field('target')],
  ['overlay', { arity: 2, call: (active, [start = 0, end = 0]) => overlay(active, start, end) }],
])

/**
 * `text` with its actions replaced by what they name among `active`.
 *
 * @throws `invalid_argument` for what is no template, or names a mount that is not there.
 */
export function format(text: string, active: readonly ActiveMount[]): string {
  let out = ''
  let rest = text
  for (let open = rest.indexOf('{{'); open >= 0; open = rest.indexOf('{{')) {
    const close = rest.indexOf('}}', open)
    if (close < 0) throw unreadable(text, 'unclosed action')
    const inner = rest.slice(open + 2, close)
    const trimsLeft = /^-\s/.test(inner)
    const trimsRight = /\s-$/.test(inner)
    const before = rest.slice(0, open)
    out += trimsLeft ? before.trimEnd() : before
    const action = inner.slice(trimsLeft ? 2 : 0, trimsRight ? -2 : undefined)
    out += evaluate(text, action.trim(), active)
    rest = rest.slice(close + 2)
    if (trimsRight) rest = rest.trimStart()
  }
  return out + rest
}

function evaluate(text: string, action: string, active: readonly ActiveMount[]): string {
  if (action.startsWith('/*') && action.endsWith('*/')) return ''
  const [name = '', ...words] = action.split(/\s+/)
  const func = functions.get(name)
  if (!func) throw unreadable(text, `function ${JSON.stringify(name)} not defined`)
  if (words.length !== func.arity) {
    throw unreadable(
      text,
      `wrong number of args for ${name}: want ${func.arity} got ${words.length}`,
    )
  }
  return func.call(
    active,
    words.map((word) => numberOf(text, word)),
  )
}

function numberOf(text: string, word: string): number {
  if (!/^[+-]?\d+$/.test(word)) {
    throw unreadable(text, `${JSON.stringify(word)} is not the number of a mount`)
  }
  return Number(word)
}

function nth(active: readonly ActiveMount[], at: number): ActiveMount {
  const found = active[at]
  if (found) return found
  throw invalidArgument(`index out of bounds: ${at}, has ${active.length} active mounts`)
}

/** Where the mounts from `start` to `end` are, both included, up or down. */
function overlay(active: readonly ActiveMount[], start: number, end: number): string {
  if (Math.min(start, end) < 0 || Math.max(start, end) >= active.length) {
    throw invalidArgument(`invalid range: ${start}-${end}, has ${active.length} active mounts`)
  }
  const range = active.slice(Math.min(start, end), Math.max(start, end) + 1)
  const ordered = start > end ? range.toReversed() : range
  return ordered.map(({ mountPoint }) => mountPoint).join(':')
}

const unreadable = (text: string, why: string): Error =>
  invalidArgument(`template ${JSON.stringify(text)}: ${why}`)
