import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import {
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempDisposableSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from 'node:zlib'

import type { Reader, Store } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Mount } from '#core/mount/mount.ts'
import { LocalStore } from '#plugins/content/local/local-store.ts'
import { mountInfo } from '#sys/mount-info.ts'
import { newContext } from '#testing/context.ts'
import { root } from '#testing/root.ts'

import { WalkingDiffer } from './differ.ts'
import { mountTemporarily, removeLeftMounts } from './mounted.ts'

interface Setup extends AsyncDisposable {
  readonly path: string
  readonly store: Store
  readonly differ: WalkingDiffer
  /** Labels that were set on any blob. */
  readonly labels: ReadonlyMap<string, string>
}

/** A differ over a store; with `plain` false the store does not say where its files are. */
async function setUp(ctx: Context, plain = true): Promise<Setup> {
  await using stack = new AsyncDisposableStack()
  const { path } = stack.use(mkdtempDisposableSync(join(tmpdir(), 'wharf-differ-')))
  const local = stack.use(LocalStore.open(ctx, join(path, 'content')))
  const labels = new Map<string, string>()
  const store = withLabels(plain ? local : withoutPaths(local), labels)
  const tempDir = join(path, 'mounts')
  mkdirSync(tempDir)
  const differ = stack.use(new WalkingDiffer(store, { tempDir, workers: 1 }))
  stack.defer(() => {
    assert.deepEqual(readdirSync(tempDir), [])
    assert.ok(!mountInfo().some(({ mountPoint }) => mountPoint.startsWith(path)))
  })
  const owned = stack.move()
  return { path, store, differ, labels, [Symbol.asyncDispose]: () => owned.disposeAsync() }
}

/** The store, with some methods replaced. */
function replacing(store: Store, methods: Partial<Store>): Store {
  return new Proxy(store, {
    get(target, key) {
      const own: unknown = Reflect.get(methods, key)
      const value = own ?? Reflect.get(target, key)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

const withoutPaths = (store: Store): Store =>
  replacing(store, { reader: (ctx, digest) => hidden(store, ctx, digest) })

/** The local store has no labels: they are the metadata store's. */
function withLabels(store: Store, labels: Map<string, string>): Store {
  return replacing(store, {
    update: async (ctx, info) => {
      for (const [key, value] of Object.entries(info.labels)) labels.set(key, value)
      return { ...(await store.info(ctx, info.digest)), labels: info.labels }
    },
  })
}

async function hidden(store: Store, ctx: Context, digest: string): Promise<Reader> {
  const reader = await store.reader(ctx, digest)
  return {
    size: reader.size,
    read: (offset, length) => reader.read(offset, length),
    [Symbol.asyncDispose]: () => reader[Symbol.asyncDispose](),
  }
}

const digestOf = (bytes: Uint8Array): string =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}`

async function put(
  ctx: Context,
  store: Store,
  bytes: Uint8Array,
  mediaType: string,
): Promise<Descriptor> {
  await using writer = await store.writer(ctx, { ref: randomBytes(6).toString('hex') })
  await writer.write(ctx, bytes)
  const digest = writer.digest()
  await writer.commit(ctx, {})
  return { mediaType, digest, size: bytes.length }
}

const bind = (source: string, option = 'rw'): readonly Mount[] => [
  { type: 'bind', source, options: ['rbind', option] },
]

/** A tree with some of everything, and the archive that system tar makes of it. */
function sample(path: string): Buffer {
  mkdirSync(join(path, 'a/b'), { recursive: true })
  writeFileSync(join(path, 'a/f'), randomBytes(300_000))
  writeFileSync(join(path, 'a/b/g'), 'x'.repeat(2_000_000))
  linkSync(join(path, 'a/f'), join(path, 'a/h'))
  symlinkSync('../a/f', join(path, 'a/b/l'))
  utimesSync(join(path, 'a'), 1_600_000_000.5, 1_600_000_000.5)
  return execFileSync('tar', ['--format=pax', '--sort=name', '-C', path, '-cf', '-', '.'], {
    maxBuffer: 64 << 20,
  })
}

const layer = 'application/vnd.oci.image.layer.v1.tar'
const docker = 'application/vnd.docker.image.rootfs.diff.tar'

const forms: readonly [string, (tar: Uint8Array) => Uint8Array][] = [
  [layer, (tar) => tar],
  [`${layer}+gzip`, (tar) => gzipSync(tar)],
  [`${layer}+zstd`, (tar) => zstdCompressSync(tar)],
  [`${docker}.gzip`, (tar) => gzipSync(tar)],
  // The type does not say it: the bytes do.
  [docker, (tar) => zstdCompressSync(tar)],
  // As estargz does it: several members, one after the other.
  [
    `${layer}+gzip`,
    (tar) => Buffer.concat([gzipSync(tar.subarray(0, 999)), gzipSync(tar.subarray(999))]),
  ],
]

for (const [mediaType, compress] of forms) {
  for (const plain of [true, false]) {
    test(`a layer ${mediaType} is unpacked, ${plain ? 'from its file' : 'through the store'}`, async (t) => {
      if (!root(t)) return
      const ctx = newContext(t)
      await using setup = await setUp(ctx, plain)
      const [source, target] = [join(setup.path, 'source'), join(setup.path, 'target')]
      mkdirSync(target)
      const tar = sample(source)
      const blob = await put(ctx, setup.store, compress(tar), mediaType)
      const made = await setup.differ.apply(ctx, blob, bind(target))
      assert.deepEqual(made, { mediaType: layer, digest: digestOf(tar), size: tar.length })
      execFileSync('diff', ['-r', '--no-dereference', source, target])
      assert.equal(lstatSync(join(target, 'a')).mtimeMs, 1_600_000_000_500)
      assert.equal(lstatSync(join(target, 'a/h')).nlink, 2)
    })
  }
}

test('a layer for a writable overlay goes to its upper directory, and shows through a mount', async (t) => {
  if (!root(t)) return
  const ctx = newContext(t)
  await using setup = await setUp(ctx)
  const at = (name: string): string => join(setup.path, name)
  for (const name of ['lower', 'upper', 'work']) mkdirSync(at(name))
  writeFileSync(join(at('lower'), 'gone'), '')
  writeFileSync(join(at('lower'), 'kept'), '')
  mkdirSync(at('change'))
  writeFileSync(join(at('change'), '.wh.gone'), '')
  const tar = execFileSync('tar', ['-C', at('change'), '-cf', '-', '.wh.gone'])
  const blob = await put(ctx, setup.store, tar, layer)
  const options = [`workdir=${at('work')}`, `upperdir=${at('upper')}`, `lowerdir=${at('lower')}`]
  const mounts = [{ type: 'overlay', source: 'overlay', options }]
  await setup.differ.apply(ctx, blob, mounts)
  assert.ok(statSync(join(at('upper'), 'gone')).isCharacterDevice())
  const view = await setup.differ.compare(ctx, bind(at('lower'), 'ro'), mounts, {
    mediaType: layer,
  })
  await using reader = await setup.store.reader(ctx, view.digest)
  const made = await reader.read(0, view.size)
  assert.equal(String(execFileSync('tar', ['-tf', '-'], { input: made })), '.wh.gone\n')
})

test('what is no layer is unimplemented, and a missing blob is not found', async (t) => {
  const ctx = newContext(t)
  await using setup = await setUp(ctx)
  const blob = { mediaType: 'text/plain', digest: digestOf(Buffer.of(1)), size: 1 }
  await assert.rejects(setup.differ.apply(ctx, blob, []), { code: 'unimplemented' })
  const wrapped = { ...blob, mediaType: `${layer}+gzip+encrypted` }
  await assert.rejects(setup.differ.apply(ctx, wrapped, []), { code: 'unimplemented' })
  const missing = { ...blob, mediaType: layer }
  await assert.rejects(setup.differ.apply(ctx, missing, []), { code: 'not_found' })
  const bad = { mediaType: 'text/plain' }
  await assert.rejects(setup.differ.compare(ctx, [], [], bad), { code: 'unimplemented' })
})

test('a full disk is said to be one, with the file that found no room', async (t) => {
  if (!root(t)) return
  const ctx = newContext(t)
  await using setup = await setUp(ctx)
  const source = join(setup.path, 'source')
  const blob = await put(ctx, setup.store, gzipSync(sample(source)), `${layer}+gzip`)
  const mounts = [{ type: 'tmpfs', source: 'tmpfs', options: ['size=1m'] }]
  await assert.rejects(setup.differ.apply(ctx, blob, mounts), (err) => {
    assert.ok(err instanceof Error && 'code' in err)
    assert.equal(err.code, 'resource_exhausted')
    return /ENOSPC.*'a\//.test(err.message)
  })
})

test('damaged layers are errors, and the worker goes on', async (t) => {
  if (!root(t)) return
  const ctx = newContext(t)
  await using setup = await setUp(ctx)
  const [source, target] = [join(setup.path, 'source'), join(setup.path, 'target')]
  mkdirSync(target)
  const tar = sample(source)
  const zip = gzipSync(tar)
  for (const bytes of [
    tar.subarray(0, 700),
    zip.subarray(0, 9000),
    Buffer.from('no archive, no zip'),
  ]) {
    const blob = await put(ctx, setup.store, bytes, `${layer}+gzip`)
    await assert.rejects(setup.differ.apply(ctx, blob, bind(target)))
  }
  const blob = await put(ctx, setup.store, tar, layer)
  const made = await setup.differ.apply(ctx, blob, bind(target))
  assert.equal(made.digest, digestOf(tar))
})

test('a cancelled unpack ends with the reason, and leaves no mount', async (t) => {
  if (!root(t)) return
  const ctx = newContext(t)
  await using setup = await setUp(ctx)
  const big = Buffer.alloc(64 << 20, 7)
  mkdirSync(join(setup.path, 'source'))
  writeFileSync(join(setup.path, 'source/big'), big)
  const tar = execFileSync('tar', ['-C', join(setup.path, 'source'), '-cf', '-', '.'], {
    maxBuffer: 128 << 20,
  })
  const blob = await put(ctx, setup.store, tar, layer)
  const stop = new AbortController()
  const mounts = [{ type: 'tmpfs', source: 'tmpfs', options: [] }]
  const applied = setup.differ.apply({ ...ctx, signal: stop.signal }, blob, mounts)
  stop.abort(new Error('enough'))
  await assert.rejects(applied, /enough/)
})

test('a job that waits for its turn can be cancelled, and those after it go on', async (t) => {
  if (!root(t)) return
  const ctx = newContext(t)
  await using setup = await setUp(ctx)
  const [source, target] = [join(setup.path, 'source'), join(setup.path, 'target')]
  mkdirSync(target)
  const blob = await put(ctx, setup.store, sample(source), layer)
  const stop = new AbortController()
  const first = setup.differ.apply(ctx, blob, bind(target))
  const second = setup.differ.apply({ ...ctx, signal: stop.signal }, blob, bind(target))
  const third = setup.differ.apply(ctx, blob, bind(target))
  stop.abort(new Error('enough'))
  await assert.rejects(second, /enough/)
  assert.equal((await first).digest, blob.digest)
  assert.equal((await third).digest, blob.digest)
})

test('unpacking to nowhere is refused', async (t) => {
  const ctx = newContext(t)
  await using setup = await setUp(ctx)
  const blob = await put(ctx, setup.store, new Uint8Array(1024), layer)
  await assert.rejects(setup.differ.apply(ctx, blob, []), { code: 'invalid_argument' })
})

test('what a killed daemon left mounted is removed', (t) => {
  if (!root(t)) return
  using dir = mkdtempDisposableSync(join(tmpdir(), 'wharf-left-'))
  mountTemporarily([{ type: 'tmpfs', source: 'tmpfs', options: [] }], dir.path)
  removeLeftMounts(dir.path, (path) => assert.fail(path))
  assert.deepEqual(readdirSync(dir.path), [])
})

test('what cannot be removed there is told, and no obstacle', () => {
  using dir = mkdtempDisposableSync(join(tmpdir(), 'wharf-left-'))
  const full = join(dir.path, 'containerd-mount1')
  mkdirSync(join(full, 'file'), { recursive: true })
  const told: string[] = []
  removeLeftMounts(dir.path, (path) => told.push(path))
  assert.deepEqual(told, [full])
})

const made: readonly [string, (bytes: Uint8Array) => Uint8Array][] = [
  ['', gunzipSync],
  [`${layer}+zstd`, zstdDecompressSync],
  [layer, (bytes) => bytes],
]

for (const [mediaType, decompress] of made) {
  test(`the difference of two trees makes the one of the other (${mediaType || 'default'})`, async (t) => {
    if (!root(t)) return
    const ctx = newContext(t)
    await using setup = await setUp(ctx)
    const [lower, upper] = [join(setup.path, 'lower'), join(setup.path, 'upper')]
    for (const path of [lower, upper]) sample(path)
    execFileSync('cp', ['-a', `${lower}/.`, upper])
    rmSync(join(upper, 'a/b'), { recursive: true })
    writeFileSync(join(upper, 'a/f'), 'changed')
    mkdirSync(join(upper, 'new'))
    writeFileSync(join(upper, 'new/n'.padEnd(120, 'n')), 'new')
    symlinkSync('x', join(upper, 'new/link'))
    execFileSync('mknod', [join(upper, 'new/dev'), 'c', '1', '3'])
    const options = { mediaType, labels: { a: 'b' } }
    const diff = await setup.differ.compare(ctx, bind(lower, 'ro'), bind(upper), options)
    await using reader = await setup.store.reader(ctx, diff.digest)
    const bytes = await reader.read(0, diff.size)
    assert.equal(bytes.length, diff.size)
    const tar = decompress(bytes)
    const uncompressed = setup.labels.get('containerd.io/uncompressed')
    assert.equal(uncompressed, mediaType === layer ? undefined : digestOf(tar))
    const applied = await setup.differ.apply(ctx, diff, bind(lower))
    assert.equal(applied.digest, digestOf(tar))
    execFileSync('rm', [join(upper, 'new/dev'), join(lower, 'new/dev')])
    execFileSync('diff', ['-r', '--no-dereference', lower, upper])
    assert.equal(readFileSync(join(lower, 'a/h'), 'utf8'), 'changed')
  })
}
