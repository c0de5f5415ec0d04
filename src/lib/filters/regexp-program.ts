import type { Edge, RegexpNode } from './regexp-syntax.ts'

/** One step of a pattern as a non-deterministic automaton (Thompson's construction). */
type Instruction =
  | { readonly op: 'set'; readonly test: (char: string) => boolean; readonly next: number }
  | { readonly op: 'assert'; readonly test: Edge; readonly next: number }
  | { readonly op: 'split'; next: number; readonly other: number }
  | { readonly op: 'match' }

export interface Program {
  readonly instructions: readonly Instruction[]
  readonly start: number
}

/** More than this is a repetition of repetitions that nobody needs, and would be slow to run. */
const maxInstructions = 20_000

/** @throws {Error} when the pattern is too large. */
export function compileProgram(node: RegexpNode): Program {
  const instructions: Instruction[] = []
  const start = append(instructions, node, emit(instructions, { op: 'match' }))
  return { instructions, start }
}

/** Whether `program` matches anywhere in `text`. */
export function runProgram(program: Program, text: string): boolean {
  const chars = Array.from(text)
  let current = new Threads(program)
  let following = new Threads(program)
  for (let at = 0; at <= chars.length; at++) {
    const before = chars[at - 1]
    const after = chars[at]
    if (current.add(program.start, before, after)) return true
    if (after === undefined) return false
    for (const next of current.accepting(after)) {
      if (following.add(next, after, chars[at + 1])) return true
    }
    current.clear()
    ;[current, following] = [following, current]
  }
  return false
}

/** The states the automaton is in at one place of the text, each once. */
class Threads {
  readonly #instructions: readonly Instruction[]
  readonly #seen: Uint8Array
  readonly #states: number[] = []

  constructor(program: Program) {
    this.#instructions = program.instructions
    this.#seen = new Uint8Array(program.instructions.length)
  }

  /** Adds `state` and what it reaches without a character; true when that is a match. */
  add(state: number, before: string | undefined, after: string | undefined): boolean {
    const todo = [state]
    for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
      if (this.#seen[next] === 1) continue
      this.#seen[next] = 1
      this.#states.push(next)
      const instruction = this.#instructions[next]
      if (instruction?.op === 'match') return true
      if (instruction?.op === 'split') todo.push(instruction.other, instruction.next)
      if (instruction?.op === 'assert' && instruction.test(before, after)) {
        todo.push(instruction.next)
      }
    }
    return false
  }

  *accepting(char: string): Iterable<number> {
    for (const state of this.#states) {
      const instruction = this.#instructions[state]
      if (instruction?.op === 'set' && instruction.test(char)) yield instruction.next
    }
  }

  clear(): void {
    for (const state of this.#states) this.#seen[state] = 0
    this.#states.length = 0
  }
}

/** Adds the steps of `node`, which go on at `next`. @returns where they begin. */
function append(out: Instruction[], node: RegexpNode, next: number): number {
  if (node.kind === 'set') return emit(out, { op: 'set', test: node.test, next })
  if (node.kind === 'assert') return emit(out, { op: 'assert', test: node.test, next })
  if (node.kind === 'repeat') return appendRepeat(out, node, next)
  if (node.kind === 'concat') {
    return node.nodes.reduceRight((then, part) => append(out, part, then), next)
  }
  const [first, ...others] = node.nodes.map((part) => append(out, part, next))
  return others.reduce(
    (other, branch) => emit(out, { op: 'split', next: branch, other }),
    first ?? next,
  )
}

function appendRepeat(
  out: Instruction[],
  { node, min, max }: Extract<RegexpNode, { kind: 'repeat' }>,
  next: number,
): number {
  const loop: Instruction = { op: 'split', next, other: next }
  let then = next
  if (max === Infinity) {
    then = emit(out, loop)
    loop.next = append(out, node, then)
  } else {
    for (let count = min; count < max; count++) {
      then = emit(out, { op: 'split', next: append(out, node, then), other: next })
    }
  }
  for (let count = 0; count < min; count++) then = append(out, node, then)
  return then
}

function emit(out: Instruction[], instruction: Instruction): number {
  if (out.length === maxInstructions) throw new Error('error parsing regexp: expression too large')
  return out.push(instruction) - 1
}
