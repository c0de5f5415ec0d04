import { readFile } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { text } from 'node:stream/consumers'

import { describe, invalidArgument } from '#lib/errors/errors.ts'
import { isTable, type Table } from '#lib/toml/decode.ts'

/*
 * A hook of an OCI runtime that makes the arguments of another program: in arguments and environment,
 *
 *     {{id}} {{bundle}} {{rootfs}} {{pid}} {{status}} {{annotation "key"}}
 *
 * are what the runtime says of the container, on standard input and in the spec of its bundle.
 *
 * Source: upstream `cmd/containerd/command/oci-hook.go`.
 */

/** What is known of the container that the hook is for. */
export interface HookState {
  readonly id: string
  readonly bundle: string
  readonly rootfs: string
  readonly pid: number
  readonly status: string
  readonly annotations: Readonly<Record<string, string>>
}

/**
 * Becomes the program that `words` name, once the container has been put into them and into the
 * environment. The program must be a path: nobody looks it up.
 *
 * @throws `invalid_argument` for a state, a spec or a word that cannot be understood; the system's
 * error when there is no such program.
 */
export async function ociHook(words: readonly string[]): Promise<never> {
  const state = await readState(await text(process.stdin))
  const [program, ...args] = words.map((word) => fill(word, state))
  if (program === undefined) throw invalidArgument('oci-hook needs a program to run')
  const env = Object.entries(process.env).map(([name, value]) => [name, fill(value ?? '', state)])
  return process.execve?.(program, [program, ...args], Object.fromEntries(env)) ?? noExec()
}

function noExec(): never {
  throw new Error('this platform cannot replace a process by another')
}

/** What the runtime says, and where the spec beside it has the root. */
export async function readState(json: string): Promise<HookState> {
  const { id = '', bundle = '', status = '', pid = 0, annotations = {} } = parse(json, 'the state')
  if (typeof bundle !== 'string') throw invalidArgument('the bundle of the state must be a path')
  const spec = join(bundle, 'config.json')
  const { root } = parse(await readFile(spec, 'utf8'), spec)
  const path = isTable(root) && typeof root['path'] === 'string' ? root['path'] : ''
  const texts = isTable(annotations) ? Object.entries(annotations) : []
  return {
    id: String(id),
    bundle,
    rootfs: isAbsolute(path) ? path : join(bundle, path),
    pid: Number(pid),
    status: String(status),
    annotations: Object.fromEntries(texts.map(([key, value]) => [key, String(value)])),
  }
}

function parse(json: string, what: string): Table {
  try {
    const value: unknown = JSON.parse(json)
    if (isTable(value)) return value
  } catch (err) {
    throw invalidArgument(`${what} of the container: ${describe(err)}`, { cause: err })
  }
  throw invalidArgument(`${what} of the container is no JSON object`)
}

/**
 * `word` with its `{{…}}` replaced; these few are all there is of Go's templates here.
 *
 * @throws `invalid_argument` naming what there is not.
 */
export function fill(word: string, state: HookState): string {
  const { annotations, ...plain } = state
  const values = new Map<string, string | number>(Object.entries(plain))
  const valueOf = (name: string, key: string | undefined): string | number | undefined => {
    if (key === undefined) return values.get(name)
    return name === 'annotation' ? (annotations[key] ?? '') : undefined
  }
  return word.replaceAll(
    /\{\{(?:\s*(\w+)(?:\s+"([^"\\]*)")?\s*\}\})?/g,
    (whole: string, name: string, key: string | undefined) => {
      const value = valueOf(name, key)
      if (value !== undefined) return String(value)
      throw invalidArgument(`oci-hook cannot put anything in the place of ${whole} in "${word}"`)
    },
  )
}
