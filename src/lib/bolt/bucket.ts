import { alreadyExists, invalidArgument, notFound } from '#lib/errors/errors.ts'

import { asBuffer, ownBytes } from './bytes.ts'
import type { Bucket, Entry, Key, ReadBucket } from './database.ts'
import { type Item, LeafNode, type Tree } from './node.ts'
import { maxKeySize } from './page.ts'
import type { Pager } from './pager.ts'
import type { Transaction } from './transaction.ts'
import { Cursor, find, leafOf, treeAt, treeOf } from './tree.ts'

/** bbolt's limit, in bytes. */
const maxValueSize = 2 ** 31 - 2

const none = Buffer.alloc(0)

/** Says whether the function a bucket was made for is still running. */
export interface Scope {
  open: boolean
}

/** A bucket of the last durable state. */
export class Reader implements ReadBucket {
  readonly #pager: Pager
  readonly #scope: Scope
  readonly #tree: Tree

  constructor(pager: Pager, scope: Scope, tree: Tree) {
    this.#pager = pager
    this.#scope = scope
    this.#tree = tree
  }

  get sequence(): bigint {
    check(this.#scope)
    return this.#tree.sequence
  }

  get(key: Key): Uint8Array | undefined {
    check(this.#scope)
    const bytes = asBuffer(key)
    const leaf = leafOf(this.#pager, this.#tree, bytes)
    const index = leaf.search(bytes)
    return index < 0 || leaf.isBucketAt(index) ? undefined : leaf.valueAt(index)
  }

  bucket(key: Key): ReadBucket | undefined {
    check(this.#scope)
    const bytes = asBuffer(key)
    const leaf = leafOf(this.#pager, this.#tree, bytes)
    const index = leaf.search(bytes)
    if (index < 0 || !leaf.isBucketAt(index)) return undefined
    return new Reader(this.#pager, this.#scope, treeAt(leaf, index))
  }

  entries(from?: Key): Iterable<Entry> {
    check(this.#scope)
    return entriesOf(this.#pager, this.#scope, () => this.#tree, from)
  }

  *buckets(): Generator<[Uint8Array, ReadBucket]> {
    check(this.#scope)
    const cursor = new Cursor(this.#pager, this.#tree.root)
    while (cursor.next()) {
      const { leaf, index } = cursor
      if (!leaf.isBucketAt(index)) continue
      yield [leaf.keyAt(index), new Reader(this.#pager, this.#scope, treeAt(leaf, index))]
      check(this.#scope)
    }
  }
}

/** A bucket of the state being written. */
export class Writer implements Bucket {
  readonly #tx: Transaction
  readonly #scope: Scope
  readonly #parent: { readonly bucket: Writer; readonly key: Buffer } | undefined
  readonly #children = new Map<string, Writer>()
  #tree: Tree
  #deleted = false

  private constructor(
    tx: Transaction,
    scope: Scope,
    tree: Tree,
    parent?: Writer,
    key: Buffer = none,
  ) {
    this.#tx = tx
    this.#scope = scope
    this.#tree = tree
    this.#parent = parent && { bucket: parent, key }
  }

  /** The bucket at the root, for one update function. */
  static root(tx: Transaction, scope: Scope): Writer {
    return new Writer(tx, scope, tx.root)
  }

  get sequence(): bigint {
    this.#check()
    return this.#tree.sequence
  }

  get(key: Key): Uint8Array | undefined {
    return valueOf(this.#find(asBuffer(key)))
  }

  bucket(key: Key): Bucket | undefined {
    const bytes = asBuffer(key)
    const item = this.#find(bytes)
    return item?.isBucket === true ? this.#child(bytes, item) : undefined
  }

  entries(from?: Key): Iterable<Entry> {
    this.#check()
    return entriesOf(this.#tx.pager, this.#scope, () => this.#tree, from)
  }

  *buckets(): Generator<[Uint8Array, Bucket]> {
    this.#check()
    const cursor = new Cursor(this.#tx.pager, this.#tree.root)
    while (cursor.next()) {
      const { leaf, index } = cursor
      if (!leaf.isBucketAt(index)) continue
      const key = leaf.keyAt(index)
      yield [key, this.#child(key, leaf.itemAt(index))]
      this.#check()
    }
  }

  put(key: Key, value: Uint8Array | string): void {
    const bytes = ownBytes(key)
    checkKey(bytes)
    if (this.#parent === undefined) throw invalidArgument('the root holds buckets only')
    if (value.length > maxValueSize) throw invalidArgument('value too large')
    if (this.#find(bytes)?.isBucket === true) throw incompatible(bytes)
    this.#tx.set(this.#own(), { key: bytes, value: ownBytes(value), isBucket: false })
  }

  delete(key: Key): void {
    const bytes = asBuffer(key)
    const item = this.#find(bytes)
    if (item === undefined) return
    if (item.isBucket) throw incompatible(bytes)
    this.#tx.remove(this.#own(), bytes)
  }

  createBucket(key: Key): Bucket {
    const bytes = ownBytes(key)
    checkKey(bytes)
    const found = this.#find(bytes)
    if (found?.isBucket === true) throw alreadyExists(`bucket ${quote(bytes)}`)
    if (found !== undefined) throw incompatible(bytes)
    const { epoch } = this.#tx
    const tree = { epoch, root: new LeafNode(epoch, []), sequence: 0n }
    const item = { key: bytes, value: none, isBucket: true, tree }
    this.#tx.set(this.#own(), item)
    return this.#child(bytes, item)
  }

  createBucketIfNotExists(key: Key): Bucket {
    return this.bucket(key) ?? this.createBucket(key)
  }

  deleteBucket(key: Key): void {
    const bytes = asBuffer(key)
    const item = this.#find(bytes)
    if (item === undefined) throw notFound(`bucket ${quote(bytes)}`)
    if (!item.isBucket) throw incompatible(bytes)
    this.#tx.release(treeOf(item))
    this.#tx.remove(this.#own(), bytes)
    const name = bytes.toString('latin1')
    const child = this.#children.get(name)
    if (child !== undefined) child.#kill()
    this.#children.delete(name)
  }

  nextSequence(): bigint {
    this.#check()
    const tree = this.#own()
    tree.sequence = BigInt.asUintN(64, tree.sequence + 1n)
    return tree.sequence
  }

  setSequence(value: bigint): void {
    this.#check()
    this.#own().sequence = BigInt.asUintN(64, value)
  }

  #find(key: Buffer): Item | undefined {
    this.#check()
    return find(this.#tx.pager, this.#tree, key)
  }

  /** One handle per nested bucket, so that all who write to it see each other's writes. */
  #child(key: Buffer, item: Item): Writer {
    const name = key.toString('latin1')
    const known = this.#children.get(name)
    if (known !== undefined) return known
    const child = new Writer(this.#tx, this.#scope, treeOf(item), this, item.key)
    this.#children.set(name, child)
    return child
  }

  /** The tree as one this epoch may change, hung into the parent's. */
  #own(): Tree {
    if (this.#tree.epoch === this.#tx.epoch) return this.#tree
    const tree = { ...this.#tree, epoch: this.#tx.epoch }
    if (this.#parent === undefined) this.#tx.root = tree
    else {
      const { bucket, key } = this.#parent
      this.#tx.set(bucket.#own(), { key, value: none, isBucket: true, tree })
    }
    this.#tree = tree
    return tree
  }

  #kill(): void {
    this.#deleted = true
    for (const child of this.#children.values()) child.#kill()
  }

  #check(): void {
    check(this.#scope)
    if (this.#deleted) throw new Error('the bucket was deleted')
  }
}

function check(scope: Scope): void {
  if (!scope.open) throw new Error('the transaction is over')
}

function checkKey(key: Buffer): void {
  if (key.length === 0) throw invalidArgument('key required')
  if (key.length > maxKeySize) throw invalidArgument('key too large')
}

const valueOf = (item: Item | undefined) => (item?.isBucket === false ? item.value : undefined)

const quote = (key: Buffer) => JSON.stringify(key.toString())

const incompatible = (key: Buffer) => invalidArgument(`incompatible value at ${quote(key)}`)

/** The pairs of what `tree` gives when the first is asked for. */
function* entriesOf(pager: Pager, scope: Scope, tree: () => Tree, from?: Key): Generator<Entry> {
  check(scope)
  const cursor = new Cursor(pager, tree().root, from === undefined ? undefined : asBuffer(from))
  while (cursor.next()) {
    const { leaf, index } = cursor
    const value = leaf.isBucketAt(index) ? undefined : leaf.valueAt(index)
    yield { key: leaf.keyAt(index), value }
    check(scope)
  }
}
