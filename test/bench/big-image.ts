import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { glob, lstat, mkdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'

import { run } from '#testing/daemon.ts'

import type { BigImage } from './row.ts'

const name = 'docker.io/library/bench:latest'
const prefix = '/usr'
/** Larger files would be most of the image on one machine and none of it on another. */
const maxFileBytes = 32 << 20

/**
 * Makes the archive of an image with one gzip layer out of files below /usr, as many as `bytes`
 * hold. Which ones depends on their paths alone: a machine makes the same image every time.
 */
export async function makeBigImage(dir: string, bytes: number): Promise<BigImage> {
  const files = await pick(bytes)
  const tree = join(dir, 'tree')
  await mkdir(join(tree, 'blobs/sha256'), { recursive: true })
  const list = join(dir, 'files')
  await writeFile(list, withDirectories(files).join('\0'))
  const layer = await writeLayer(list, tree)
  await rm(list)
  const file = join(dir, 'big.tar')
  await writeArchive(tree, file, name, [layer])
  return { name, file, gzipBytes: layer.size, tarBytes: layer.tarBytes, files: files.length }
}

/** Makes the archive `file` of an image out of `tree`, which has its layers, and removes `tree`. */
export async function writeArchive(
  tree: string,
  file: string,
  image: string,
  layers: readonly Layer[],
): Promise<void> {
  await writeMetadata(tree, image, layers)
  const { code, stderr } = await run('tar', ['-cf', file, '-C', tree, '.'])
  if (code !== 0) throw new Error(`tar: ${stderr}`)
  await rm(tree, { recursive: true })
}

/** Paths relative to the prefix, in the order of their hashes, until they fill `bytes`. */
async function pick(bytes: number): Promise<readonly string[]> {
  const all: string[] = []
  for await (const path of glob('**', { cwd: prefix })) all.push(path)
  const hashed = all.map((path) => ({ path, hash: createHash('md5').update(path).digest('hex') }))
  hashed.sort((a, b) => (a.hash < b.hash ? -1 : 1))
  const picked: string[] = []
  let left = bytes
  for (const { path } of hashed) {
    const found = await lstat(join(prefix, path)).catch(() => undefined)
    if (!found || (!found.isFile() && !found.isSymbolicLink())) continue
    if (found.size > maxFileBytes) continue
    picked.push(path)
    left -= found.size
    if (left <= 0) break
  }
  return picked.toSorted()
}

function withDirectories(files: readonly string[]): readonly string[] {
  const all = new Set<string>()
  for (const file of files) {
    for (let dir = dirname(file); dir !== '.'; dir = dirname(dir)) all.add(dir)
    all.add(file)
  }
  return [...all].toSorted()
}

/** A layer that was written. Sizes in bytes. */
export interface Layer {
  readonly digest: string
  readonly diffId: string
  readonly size: number
  readonly tarBytes: number
}

async function writeLayer(list: string, tree: string): Promise<Layer> {
  const args = ['--null', '--no-recursion', `--files-from=${list}`, '--ignore-failed-read']
  const tar = spawn('tar', ['-cf', '-', '-C', prefix, '--owner=0', '--group=0', ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  return await compressLayer(tar.stdout, tree)
}

/** Writes what `source` gives as a gzip layer below `tree`. */
export async function compressLayer(source: Readable, tree: string, level = 6): Promise<Layer> {
  const [plain, compressed] = [new Hashed(), new Hashed()]
  const blob = join(tree, 'layer')
  await pipeline(source, plain, createGzip({ level }), compressed, createWriteStream(blob))
  await rename(blob, blobPath(tree, compressed.digest()))
  return {
    digest: compressed.digest(),
    diffId: plain.digest(),
    size: compressed.bytes,
    tarBytes: plain.bytes,
  }
}

/** Passes bytes on, counting and hashing them. */
class Hashed extends Transform {
  readonly #hash = createHash('sha256')
  #digest: string | undefined
  bytes = 0

  override _transform(chunk: Buffer, _: string, done: (err: null, chunk: Buffer) => void): void {
    this.#hash.update(chunk)
    this.bytes += chunk.length
    done(null, chunk)
  }

  digest(): string {
    this.#digest ??= `sha256:${this.#hash.digest('hex')}`
    return this.#digest
  }
}

const blobPath = (tree: string, digest: string): string =>
  join(tree, 'blobs', digest.replace(':', '/'))

async function writeMetadata(tree: string, image: string, layers: readonly Layer[]): Promise<void> {
  const config = await writeJson(tree, 'config', {
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: { Cmd: ['true'] },
    rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
  })
  const mediaType = 'application/vnd.oci.image.layer.v1.tar+gzip'
  const manifest = await writeJson(tree, 'manifest', {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config,
    layers: layers.map(({ digest, size }) => ({ mediaType, digest, size })),
  })
  const annotations = { 'io.containerd.image.name': image }
  const index = { schemaVersion: 2, manifests: [{ ...manifest, annotations }] }
  await writeFile(join(tree, 'index.json'), JSON.stringify(index))
  await writeFile(join(tree, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
}

async function writeJson(tree: string, kind: 'config' | 'manifest', value: unknown) {
  const text = JSON.stringify(value)
  const digest = `sha256:${createHash('sha256').update(text).digest('hex')}`
  const file = blobPath(tree, digest)
  await writeFile(file, text)
  const mediaType = `application/vnd.oci.image.${kind}.v1+json`
  return { mediaType, digest, size: (await stat(file)).size }
}
