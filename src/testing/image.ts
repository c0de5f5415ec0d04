import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmod, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'

/*
 * Makes images out of files of this machine, as archives that any containerd imports:
 *
 *     oci     oci-layout  index.json  blobs/sha256/<hex>
 *     docker  manifest.json  <hex>.json  <n>/layer.tar
 */

/** One file of a layer: its text, a link to somewhere, or a copy of a file of this machine. */
export type LayerFile =
  | string
  | { readonly link: string }
  | { readonly copyOf: string; readonly mode?: number }

/** What an image is made of. Layers are from the bottom up; whiteouts are files named `.wh.x`. */
export interface ImageSource {
  readonly name: string
  readonly layers: readonly Readonly<Record<string, LayerFile>>[]
  readonly format?: 'oci' | 'docker'
  /** Compress the layers; OCI only. */
  readonly gzip?: boolean
  readonly cmd?: readonly string[]
  readonly env?: readonly string[]
  readonly labels?: Readonly<Record<string, string>>
}

/** Applets that the busybox image links to its one binary. */
const applets =
  'sh ls cat echo true false sleep ps mount env id head tail touch rm mkdir ln stat tee wc kill test sync yes dd seq printf mkfifo hostname tty stty'

/** A layer with busybox and what a container expects of a root file system. */
export const busyboxLayer: Readonly<Record<string, LayerFile>> = {
  'bin/busybox': { copyOf: '/bin/busybox', mode: 0o755 },
  ...Object.fromEntries(applets.split(' ').map((name) => [`bin/${name}`, { link: 'busybox' }])),
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  'etc/group': 'root:x:0:\nnobody:x:65534:\n',
  'root/.keep': '',
  'tmp/.keep': '',
}

/** The smallest image that runs commands. */
export const busyboxImage = (name = 'docker.io/library/busybox:latest'): ImageSource => ({
  name,
  layers: [busyboxLayer],
  gzip: true,
  cmd: ['sh'],
  env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
})

interface Blob {
  readonly bytes: Uint8Array
  readonly digest: string
}

/** Writes the image as an archive to `file`. */
export async function writeImage(source: ImageSource, file: string): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'image-'))
  try {
    const layers: Uint8Array[] = []
    for (const [i, files] of source.layers.entries()) {
      layers.push(await tarOf(files, join(dir, `layer${i}`)))
    }
    const tree = join(dir, 'tree')
    await mkdir(tree)
    await (source.format === 'docker' ? writeDocker : writeOci)(source, layers, tree)
    execFileSync('tar', ['-cf', file, '-C', tree, '.'])
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

async function tarOf(files: Readonly<Record<string, LayerFile>>, dir: string): Promise<Uint8Array> {
  for (const [path, content] of Object.entries(files)) {
    const at = join(dir, path)
    await mkdir(dirname(at), { recursive: true })
    if (typeof content === 'string') await writeFile(at, content)
    else if ('link' in content) await symlink(content.link, at)
    else {
      await cp(content.copyOf, at, { dereference: true })
      if (content.mode !== undefined) await chmod(at, content.mode)
    }
  }
  const args = ['--sort=name', '--owner=0', '--group=0', '--numeric-owner', '--mtime=@1700000000']
  return execFileSync('tar', [...args, '-cf', '-', '-C', dir, '.'], { maxBuffer: 1 << 30 })
}

const blobOf = (bytes: Uint8Array): Blob => ({
  bytes,
  digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`,
})

const jsonOf = (value: unknown): Blob => blobOf(Buffer.from(JSON.stringify(value)))

function configOf(source: ImageSource, layers: readonly Uint8Array[]): Blob {
  return jsonOf({
    created: '2023-11-14T22:13:20Z',
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: {
      Cmd: source.cmd ?? ['sh'],
      Env: source.env ?? ['PATH=/bin'],
      ...(source.labels && { Labels: source.labels }),
    },
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => blobOf(layer).digest) },
    history: layers.map(() => ({ created: '2023-11-14T22:13:20Z', created_by: 'wharf' })),
  })
}

async function writeOci(source: ImageSource, layers: readonly Uint8Array[], tree: string) {
  const suffix = source.gzip ? '+gzip' : ''
  const blobs = layers.map((layer) => blobOf(source.gzip ? gzipSync(layer) : layer))
  const config = configOf(source, layers)
  const describeBlob = (mediaType: string, blob: Blob) => ({
    mediaType,
    digest: blob.digest,
    size: blob.bytes.length,
  })
  const manifest = jsonOf({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: describeBlob('application/vnd.oci.image.config.v1+json', config),
    layers: blobs.map((b) => describeBlob(`application/vnd.oci.image.layer.v1.tar${suffix}`, b)),
  })
  await mkdir(join(tree, 'blobs/sha256'), { recursive: true })
  for (const { digest, bytes } of [...blobs, config, manifest]) {
    await writeFile(join(tree, 'blobs', digest.replace(':', '/')), bytes)
  }
  const index = {
    schemaVersion: 2,
    manifests: [
      {
        ...describeBlob('application/vnd.oci.image.manifest.v1+json', manifest),
        annotations: {
          'io.containerd.image.name': source.name,
          'org.opencontainers.image.ref.name': source.name.split(':').at(-1) ?? 'latest',
        },
      },
    ],
  }
  await writeFile(join(tree, 'index.json'), JSON.stringify(index))
  await writeFile(join(tree, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
}

async function writeDocker(source: ImageSource, layers: readonly Uint8Array[], tree: string) {
  const config = configOf(source, layers)
  const configName = `${config.digest.replace('sha256:', '')}.json`
  await writeFile(join(tree, configName), config.bytes)
  const names: string[] = []
  for (const [i, layer] of layers.entries()) {
    const name = `${i}/layer.tar`
    await mkdir(join(tree, String(i)))
    await writeFile(join(tree, name), layer)
    names.push(name)
  }
  const manifest = [{ Config: configName, RepoTags: [source.name], Layers: names }]
  await writeFile(join(tree, 'manifest.json'), JSON.stringify(manifest))
}

/** The bytes of the archive of `source`. */
export async function imageBytes(source: ImageSource): Promise<Uint8Array> {
  const dir = await mkdtemp(join(tmpdir(), 'image-'))
  try {
    const file = join(dir, 'image.tar')
    await writeImage(source, file)
    return await readFile(file)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}
