import { inspect } from 'node:util'

import type { DescService } from '@bufbuild/protobuf'

import { random } from '#testing/random.ts'
import type { Connection } from '#lib/rpc/rpc.ts'

/** A call that was chosen by chance. What is random is settled: it can be made of any daemon. */
export interface RandomCall {
  /** For people: which call, with what, by whom. */
  readonly title: string
  readonly make: (connection: Connection) => unknown
}

/** Who calls: in which namespace, and with a lease or without. */
export interface Caller {
  readonly metadata: Readonly<Record<string, string>>
}

/** Chooses a call of one service. */
export type Kind = (c: Chooser, caller: Caller) => RandomCall

interface Any {
  readonly typeUrl: string
  readonly value: Uint8Array
}

const keys = ['a', 'b.c/d', 'containerd.io/gc.root', 'containerd.io/gc.ref.content.l']
const values = ['1', '', 'two words', 'q"uote', 'é/ü', 'v'.repeat(4090)]
const filters = [
  'id==x',
  'name==x',
  'name~=^[xy]',
  'labels.a',
  'labels.a==1',
  'labels."b.c/d"!=1',
  'kind==active',
  'kind==committed,name==y',
  'parent==x',
  'size==1',
  'digest~=^sha256:[0-9a-c]',
  'target.mediatype==text/plain',
  'image==x',
  'runtime.name==r',
  'ref==x',
  'nonsense',
  'a.b.c',
  'name==',
  '==x',
  'name~=/[/',
  'name=="x"',
  'name~=|x|',
  '',
]

/** Few names, so that calls meet what earlier ones left; most of them good. */
export class Chooser {
  readonly below: (limit: number) => number
  readonly #prefix: string

  /** Namespaces have names that begin with `prefix`. */
  constructor(seed: number, prefix: string) {
    this.below = random(seed)
    this.#prefix = prefix
  }

  one<const T>(of: readonly [T, ...T[]]): T {
    return of[this.below(of.length)] ?? of[0]
  }

  /** One of the first, which are good; now and then one of all. */
  mostly<const T>(good: readonly [T, ...T[]], ...bad: readonly T[]): T {
    return this.below(12) === 0 ? this.one([...good, ...bad]) : this.one(good)
  }

  chance(of: number): boolean {
    return this.below(of) === 0
  }

  /** Some fields, or none. */
  maybe<T extends object>(of: number, fields: T): Partial<T> {
    return this.chance(of) ? fields : {}
  }

  id(): string {
    return this.mostly(['x', 'y', 'z'], 'x-1.2', '', 'not a name', 'a'.repeat(77))
  }

  labels(): Record<string, string> {
    const label = () => {
      const key = this.mostly(['a', 'b.c/d', 'containerd.io/gc.root'], ...keys)
      return [key, this.mostly(['1', '', 'two words'], ...values)]
    }
    return Object.fromEntries(Array.from({ length: this.one([0, 0, 1, 2]) }, label))
  }

  filters(): string[] {
    const [first = '', ...others] = filters
    return Array.from({ length: this.one([0, 0, 1, 1, 2]) }, () => this.one([first, ...others]))
  }

  paths(of: readonly [string, ...string[]]): string[] {
    return Array.from({ length: this.one([0, 1, 1, 1, 2]) }, () => this.one(of))
  }

  /** A field mask, or none. */
  mask(of: readonly [string, ...string[]]): { updateMask?: { paths: string[] } } {
    const paths = this.paths(of)
    return paths.length === 0 ? {} : { updateMask: { paths } }
  }

  any(): Any {
    return this.one<Any>([
      { typeUrl: '', value: Buffer.from('') },
      { typeUrl: 'types.test/T', value: Buffer.from('{}') },
      { typeUrl: 'types.test/U', value: Buffer.from('') },
    ])
  }

  extensions(): Record<string, Any> {
    return this.chance(2) ? {} : { [this.one(['e', 'f.g'])]: this.any() }
  }

  namespace(): string {
    return this.mostly(
      [`${this.#prefix}-a`, `${this.#prefix}-b`],
      '',
      'no name',
      `${this.#prefix}-c`,
    )
  }

  caller(): Caller {
    const namespace = { 'containerd-namespace': this.namespace() }
    const lease = this.maybe(6, { 'containerd-lease': this.one(['x', 'y', 'nolease']) })
    return { metadata: { ...namespace, ...lease } }
  }
}

/** The call of a method of `service`; where it takes a stream, of all the requests. */
export function callOf(
  service: DescService,
  method: string,
  request: object,
  caller: Caller,
): RandomCall {
  return {
    title: `${service.typeName}.${method} ${shown(request)} by ${shown(caller.metadata)}`,
    make: (connection) => {
      const client = connection.client(service)
      const call: unknown = Reflect.get(client, method)
      if (typeof call !== 'function') throw new Error(`${service.typeName} has no ${method}`)
      const given = Array.isArray(request) ? each(request) : request
      return Reflect.apply(call, client, [given, caller])
    },
  }
}

async function* each(requests: readonly object[]) {
  for (const request of requests) yield await Promise.resolve(request)
}

const shown = (value: unknown): string =>
  inspect(value, { depth: null, breakLength: Infinity, compact: true })
