import { isTable, type Table } from '#lib/toml/decode.ts'
import type { KeyPath } from '#lib/toml/key.ts'

/** Where a value was written. */
export interface Origin {
  /** Path of the file; `undefined` for what no file says. */
  readonly file: string | undefined
  /** The key it was written as, which a migration may have renamed since. */
  readonly key: KeyPath
  /** The flag that gave it, if one did. */
  readonly flag?: string
  /** It follows from the value at `key`, which is another setting. */
  readonly derived?: true
}

/** A value that is no table. Lists are values, also lists of tables. */
export interface Leaf {
  readonly value: unknown
  readonly origin: Origin
}

/** A configuration that remembers where each value was written, through migrations and merges. */
export type Node = Branch | Leaf

/** A table. */
export class Branch {
  readonly entries: Map<string, Node>
  readonly origin: Origin

  constructor(origin: Origin, entries: Iterable<readonly [string, Node]> = []) {
    this.origin = origin
    this.entries = new Map(entries)
  }

  get(name: string): Node | undefined {
    return this.entries.get(name)
  }

  /** The table `name`; undefined when there is none, or something else. */
  branch(name: string): Branch | undefined {
    const node = this.entries.get(name)
    return node instanceof Branch ? node : undefined
  }

  /** The table `name`, made if it is not there. */
  ensure(name: string): Branch {
    const found = this.branch(name)
    if (found) return found
    const made = new Branch({ ...this.origin, key: [...this.origin.key, name] })
    this.entries.set(name, made)
    return made
  }

  /** The value `name`, of whatever kind; undefined for a table. */
  leaf(name: string): Leaf | undefined {
    const node = this.entries.get(name)
    return node instanceof Branch ? undefined : node
  }

  set(name: string, node: Node): void {
    this.entries.set(name, node)
  }

  /** Removes and returns `name`. */
  take(name: string): Node | undefined {
    const node = this.entries.get(name)
    this.entries.delete(name)
    return node
  }

  /** The node at `path`, which is below this one. */
  at(path: KeyPath): Node | undefined {
    const [name = '', ...rest] = path
    const node = this.entries.get(name)
    if (rest.length === 0) return node
    return node instanceof Branch ? node.at(rest) : undefined
  }

  /** Every value with its path. */
  *leaves(path: KeyPath = []): Generator<{ readonly path: KeyPath; readonly leaf: Leaf }> {
    for (const [name, node] of this.entries) {
      const where = [...path, name]
      if (node instanceof Branch) yield* node.leaves(where)
      else yield { path: where, leaf: node }
    }
  }

  toTable(): Record<string, unknown> {
    return Object.fromEntries([...this.entries].map(([name, node]) => [name, plain(node)]))
  }
}

/** A node without its origins. */
export const plain = (node: Node): unknown => (node instanceof Branch ? node.toTable() : node.value)

/** A parsed file as a tree. */
export function toTree(table: Table, file: string | undefined, key: KeyPath = []): Branch {
  const tree = new Branch({ file, key })
  for (const [name, value] of Object.entries(table)) {
    const where = [...key, name]
    tree.set(
      name,
      isTable(value) ? toTree(value, file, where) : { value, origin: { file, key: where } },
    )
  }
  return tree
}
