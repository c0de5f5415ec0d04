import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

import { chainIds } from '#core/images/chain-id.ts'
import { type LayerFile, writeImage } from '#testing/image.ts'

/** The files of a layer, with what is in them. */
export type Tree = Readonly<Record<string, string>>

/** An image of which everything is known. */
export interface KnownImage {
  readonly name: string
  /** Path of the archive. */
  readonly archive: string
  /** Its layers by the names that their snapshots get. */
  readonly trees: ReadonlyMap<string, Tree>
}

/** Layers of an image, and files of a layer; the largest has so many times 6 bytes. */
const [layers, files, largest] = [3, 30, 3000] as const

/** Makes images in `dir` that have nothing but the lowest layer in common. */
export async function makeCorpus(
  dir: string,
  count: number,
  below: (limit: number) => number,
): Promise<readonly KnownImage[]> {
  const base = makeTree('base', below)
  const images: KnownImage[] = []
  for (let n = 0; n < count; n++) {
    const own = Array.from({ length: layers - 1 }, (_, at) => makeTree(`${n}-${at}`, below))
    const [name, archive] = [`docker.io/library/corpus-${n}:1`, join(dir, `corpus-${n}.tar`)]
    images.push(await known(name, archive, [base, ...own]))
  }
  return images
}

/** Random text files in some directories. */
export function makeTree(name: string, below: (limit: number) => number): Tree {
  const entries = Array.from({ length: files }, (_, n): [string, string] => {
    const text = `${below(1 << 30)} `.padEnd(6).repeat(below(largest))
    return [`${name}/dir${n % 5}/file${n}`, text]
  })
  return Object.fromEntries(entries)
}

async function known(name: string, archive: string, trees: readonly Tree[]): Promise<KnownImage> {
  const source: readonly Readonly<Record<string, LayerFile>>[] = trees
  await writeImage({ name, layers: source, gzip: true }, archive)
  const chain = chainIds(diffIdsOf(archive))
  return { name, archive, trees: new Map(chain.map((id, at) => [id, trees[at] ?? {}])) }
}

function diffIdsOf(archive: string): readonly string[] {
  const read = (path: string) =>
    JSON.parse(execFileSync('tar', ['-xOf', archive, path], { encoding: 'utf8' }))
  const blob = (digest: string) => read(`./blobs/${digest.replace(':', '/')}`)
  const manifest = blob(read('./index.json').manifests[0].digest)
  return blob(manifest.config.digest).rootfs.diff_ids
}

/** Compares the files below `path` with what they should be. */
export function assertTree(path: string, tree: Tree, name: string): void {
  const found = new Map(filesBelow(path).map((file) => [file, readFileSync(join(path, file))]))
  assert.deepEqual([...found.keys()].toSorted(), Object.keys(tree).toSorted(), name)
  for (const [file, text] of Object.entries(tree)) {
    assert.equal(sumOf(found.get(file) ?? ''), sumOf(text), `${name}: ${file}`)
  }
}

const sumOf = (bytes: Uint8Array | string): string =>
  createHash('sha256').update(bytes).digest('hex')

const filesBelow = (root: string, dir = ''): string[] =>
  readdirSync(join(root, dir)).flatMap((name) => {
    const path = join(dir, name)
    return lstatSync(join(root, path)).isDirectory() ? filesBelow(root, path) : [path]
  })
