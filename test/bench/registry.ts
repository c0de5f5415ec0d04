import { randomBytes } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'

import { encodeHeader, endOfArchive } from '#lib/tar/writer.ts'
import { run } from '#testing/daemon.ts'
import { DockerRegistry } from '#testing/docker-registry.ts'

import { compressLayer, type Layer, makeBigImage, writeArchive } from './big-image.ts'
import { makeHugeImage } from './huge-image.ts'
import type { RegistryImage, RegistryImages } from './row.ts'

const layerBytes = 400_000_000
const quickLayerBytes = 64_000_000
const layerCount = 50

/** Starts a registry and fills it. `filesBytes` is how large the image of many files is unpacked. */
export async function openRegistry(
  dir: string,
  quick: boolean,
  filesBytes: number,
): Promise<RegistryImages & AsyncDisposable> {
  await using scope = new AsyncDisposableStack()
  const registry = scope.use(await DockerRegistry.open())
  const { host } = registry
  const layer = await makeHugeImage(dir, quick ? quickLayerBytes : layerBytes, 'layer')
  const layers = await makeLayers(dir)
  const own = join(dir, 'files')
  await mkdir(own)
  const files = await makeBigImage(own, filesBytes)
  const images = {
    layer: await upload(host, 'layer', layer),
    layers: await upload(host, 'layers', layers),
    files: await upload(host, 'files', files),
  }
  const owned = scope.move()
  return { host, ...images, [Symbol.asyncDispose]: async () => await owned.disposeAsync() }
}

type Archive = Pick<RegistryImage, 'name' | 'file'>

/** Puts the image of an archive into the registry, as it is. */
async function upload(
  host: string,
  called: string,
  { name, file }: Archive,
): Promise<RegistryImage> {
  const reference = `${host}/bench/${called}:1`
  const options = ['--dest-tls-verify=false', '--preserve-digests', '--insecure-policy']
  const { code, stderr } = await run(
    'skopeo',
    ['copy', ...options, `oci-archive:${file}`, `docker://${reference}`],
    { timeoutMs: 300_000 },
  )
  if (code !== 0) throw new Error(`skopeo copy: ${stderr}`)
  return { reference, name, file }
}

/** Makes the archive of an image with many layers of a few files each. */
async function makeLayers(dir: string): Promise<Archive> {
  const name = 'docker.io/library/layers:latest'
  const tree = join(dir, 'layers-tree')
  await mkdir(join(tree, 'blobs/sha256'), { recursive: true })
  const layers: Layer[] = []
  for (let i = 0; i < layerCount; i++) {
    layers.push(await compressLayer(Readable.from(smallLayer(i)), tree))
  }
  const file = join(dir, 'layers.tar')
  await writeArchive(tree, file, name, layers)
  return { name, file }
}

function* smallLayer(layer: number): Generator<Uint8Array> {
  for (let i = 0; i < 20; i++) {
    const text = Buffer.from(randomBytes(16_384).toString('hex'))
    const name = `srv/layer${layer}/file${i}`
    yield encodeHeader({ type: 'file', name, mode: 0o644, size: text.length })
    yield text
  }
  yield endOfArchive
}
