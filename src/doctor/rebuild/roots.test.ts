import assert from 'node:assert/strict'
import { mkdtempDisposableSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { digestOf } from '#lib/digest/digest.ts'

import type { Blob } from '#doctor/checks/blobs.ts'

import { findImages } from './roots.ts'

const ociManifest = 'application/vnd.oci.image.manifest.v1+json'
const ociIndex = 'application/vnd.oci.image.index.v1+json'
const dockerManifest = 'application/vnd.docker.distribution.manifest.v2+json'

/** Blobs in files of their own. */
class Shelf implements Disposable {
  readonly #dir = mkdtempDisposableSync(join(tmpdir(), 'roots-'))
  readonly blobs: Blob[] = []

  put(content: object | string): { readonly digest: string; readonly size: number } {
    const bytes = Buffer.from(typeof content === 'string' ? content : JSON.stringify(content))
    const digest = digestOf(bytes)
    const path = join(this.#dir.path, digest)
    writeFileSync(path, bytes)
    this.blobs.push({ digest, path, size: bytes.length })
    return { digest, size: bytes.length }
  }

  /** A manifest, with a config and a layer. */
  putManifest(name: string, said: object = {}): { digest: string; size: number } {
    const config = { mediaType: 'c', ...this.put({ architecture: name, config: { Env: [] } }) }
    const layers = [{ mediaType: 'l', ...this.put(`\u001f layer of ${name}`) }]
    return this.put({ schemaVersion: 2, ...said, config, layers })
  }

  async images(): Promise<Record<string, string>> {
    const images = await findImages(this.blobs, AbortSignal.timeout(60_000))
    return Object.fromEntries(
      images.map(({ name, target }) => [name, `${target.mediaType} ${target.digest}`]),
    )
  }

  [Symbol.dispose](): void {
    this.#dir[Symbol.dispose]()
  }
}

test('a manifest that nothing lists is an image, named by its digest', async () => {
  using shelf = new Shelf()
  const plain = shelf.putManifest('plain')
  const docker = shelf.putManifest('docker', { mediaType: dockerManifest })
  assert.deepEqual(await shelf.images(), {
    [`lost.invalid/image@${plain.digest}`]: `${ociManifest} ${plain.digest}`,
    [`lost.invalid/image@${docker.digest}`]: `${dockerManifest} ${docker.digest}`,
  })
})

test('an index is one image, whatever it lists', async () => {
  using shelf = new Shelf()
  const manifests = ['amd64', 'arm64'].map((name) => ({
    mediaType: ociManifest,
    ...shelf.putManifest(name),
    annotations: { 'org.opencontainers.image.ref.name': 'latest' },
  }))
  const index = shelf.put({ schemaVersion: 2, manifests })
  assert.deepEqual(await shelf.images(), {
    [`lost.invalid/image@${index.digest}`]: `${ociIndex} ${index.digest}`,
  })
})

test('an annotation that is a whole name names what it is beside, if that is there', async () => {
  using shelf = new Shelf()
  const here = shelf.putManifest('here')
  const other = { digest: digestOf('elsewhere'), size: 9 }
  const named = (name: string, key: string, what: object): object => ({
    mediaType: ociManifest,
    ...what,
    annotations: { [key]: name },
  })
  shelf.put({
    mediaType: ociIndex,
    manifests: [
      named('docker.io/library/here:1', 'io.containerd.image.name', here),
      named('docker.io/library/here:2', 'org.opencontainers.image.ref.name', here),
      named('docker.io/library/there:1', 'io.containerd.image.name', other),
    ],
  })
  assert.deepEqual(await shelf.images(), {
    'docker.io/library/here:1': `${ociManifest} ${here.digest}`,
    'docker.io/library/here:2': `${ociManifest} ${here.digest}`,
  })
})

test('what is no manifest is no image', async () => {
  using shelf = new Shelf()
  shelf.put('{ not json')
  shelf.put({ mediaType: 'application/vnd.cncf.other+json', config: {}, layers: [] })
  shelf.put({ config: { digest: 'not a digest', size: 1 }, layers: [] })
  shelf.put({ manifests: [{ digest: digestOf('x'), size: -1 }] })
  shelf.put('')
  assert.deepEqual(await shelf.images(), {})
})
