/*
 * A stream processor that lets only known layers through: it hashes the layer on its way, and fails if
 * the digest is on no list. A daemon unpacks nothing that a processor refused, whoever asks for it.
 *
 *     [stream_processors."example.verify"]
 *     accepts = ["application/vnd.oci.image.layer.v1.tar+gzip"]
 *     returns = "application/vnd.oci.image.layer.v1.tar"
 *     path = "node"
 *     args = ["/etc/wharf/verify-layer.ts", "/etc/wharf/allowed-layers"]
 *
 * A list is a file with one digest a line: `sha256:…`. The payload of a call, which is on file
 * descriptor 3 if there is one, is not used.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'

/** Whether one of the lists has `digest`. */
const isAllowed = (digest: string, lists: readonly string[]): boolean =>
  lists.some((list) => readFileSync(list, 'utf8').split(/\s+/).includes(digest))

/** Decompresses standard input into standard output. @returns the digest of what came in. */
async function pass(): Promise<string> {
  const hash = createHash('sha256')
  async function* hashed(layer: Readable): AsyncGenerator<Buffer> {
    for await (const piece of layer) {
      if (!(piece instanceof Buffer)) continue
      hash.update(piece)
      yield piece
    }
  }
  await pipeline(process.stdin, hashed, createGunzip(), process.stdout)
  return `sha256:${hash.digest('hex')}`
}

try {
  const digest = await pass()
  if (!isAllowed(digest, process.argv.slice(2))) throw new Error(`layer ${digest} is not allowed`)
} catch (err) {
  // What is on standard error is what the caller of the daemon is told.
  process.stderr.write(err instanceof Error ? err.message : String(err))
  process.exitCode = 1
}
