import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'

import { TarError } from '#lib/tar/entry.ts'
import { CodedError } from '#lib/errors/errors.ts'
import { applyLayer } from '#plugins/diff/walking/apply-layer.ts'
import type { ExtractTarget } from '#plugins/diff/walking/extractor.ts'
import { mountAll, unmountRecursive } from '#sys/mount.ts'
import { archive, type Part } from '#testing/layer-archive.ts'
import { root as asRoot } from '#testing/root.ts'
import { type Cycle, soak, soakMs } from '#testing/soak.ts'

/*
 * Random layers, whole and damaged: each ends, either unpacked or with an error that says what is
 * wrong, and touches nothing outside its root. `npm run soak` tries as many as there is time for.
 */

const casesPerCycle = 100
const limits = { maxBytes: 16 << 20, maxRatio: 0, maxEntries: 100_000 }
type Below = Cycle['below']

const names =
  'a b a/b a/b/c b/a d d/e d/e/f ../x /abs /abs/y ./a a/ b/. a/../b .wh.a a/.wh.b d/.wh.e .wh..wh..opq a/.wh..wh..opq'.split(
    ' ',
  )
const oddNames = [
  ...'../outside/secret ../outside a/../../outside/secret .. / . .wh. .wh.. d/.wh... ../.wh.outside'.split(
    ' ',
  ),
  'a\udcff',
  'a\nb',
  `long/${'n'.repeat(140)}`,
  'deep/'.repeat(60),
]
const targets = ['/', '..', '../outside', '../../outside/secret', 'a', 'b', '/abs', 'd', 'a/b', '.']
const types = [
  'file',
  'file',
  'directory',
  'directory',
  'symlink',
  'hardlink',
  'fifo',
  'character',
] as const

const oneOf = <T>(from: readonly T[], below: Below): T | undefined => from[below(from.length)]

function randomPart(below: Below): Part {
  const type = oneOf(types, below) ?? 'file'
  const name = oneOf(below(12) === 0 ? oddNames : names, below) ?? 'a'
  const links = type === 'symlink' || type === 'hardlink'
  const linkName = links ? (oneOf(below(3) === 0 ? names : targets, below) ?? 'a') : ''
  const xattrs = new Map(below(8) === 0 ? [['user.x', Buffer.alloc(below(300))]] : [])
  const ids = below(40) === 0 ? [2 ** 33, -(2 ** 40)] : [0, 1, 1000, 2_097_152, 4_294_967_294]
  return {
    type,
    name,
    linkName,
    mode: below(0o10000),
    uid: oneOf(ids, below) ?? 0,
    gid: oneOf(ids, below) ?? 0,
    mtime: BigInt(below(4e9)) * 1_000_000_007n - 1_000_000_000_000n,
    xattrs,
    ...(type === 'file' && { content: Buffer.alloc(below(1500), 'x') }),
  }
}

/** Puts something else into a header and makes its sum right again. */
function changeHeader(bytes: Buffer, below: Below): void {
  const block = bytes.subarray(below(bytes.length / 512) * 512).subarray(0, 512)
  if (block.length < 512) return
  const fields = [0, 100, 108, 116, 124, 136, 156, 157, 257, 329, 337, 345, 386, 482, 483]
  const at = oneOf(fields, below) ?? 0
  const values = [
    '\xff'.repeat(12),
    '\x80\0\0\0\0\0\0\x01',
    '77777777777',
    '-1',
    '\0',
    '../../x',
    'S',
    'x',
    'L',
    'g',
    '1',
  ]
  block.write(oneOf(values, below) ?? '', at, 'latin1')
  block.fill(0x20, 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0`, 148, 'latin1')
}

/** Damages `bytes` in one of many ways. */
function damage(bytes: Buffer, below: Below): Buffer {
  const copy = Buffer.from(bytes)
  const at = below(copy.length)
  const ways = [
    () => copy.subarray(0, at),
    () => Buffer.concat([copy.subarray(0, at), copy.subarray(at + below(2000))]),
    () => Buffer.concat([copy.subarray(0, at), copy.subarray(below(copy.length)), copy]),
    () => (copy.writeUInt8(below(256), at), copy),
    () => copy.fill(below(256), at, Math.min(copy.length, at + below(600))),
    () => (changeHeader(copy, below), copy),
    () => (changeHeader(copy, below), changeHeader(copy, below), copy),
  ]
  return oneOf(ways, below)?.() ?? copy
}

function randomBlob(below: Below): Buffer {
  let bytes = archive(...Array.from({ length: 1 + below(9) }, () => randomPart(below)))
  if (below(2) === 0) bytes = damage(bytes, below)
  const form = below(3)
  if (form === 1) bytes = gzipSync(bytes)
  if (form === 2) bytes = zstdCompressSync(bytes)
  return below(4) === 0 && bytes.length > 0 ? damage(bytes, below) : bytes
}

function* inPieces(blob: Buffer, below: Below): Generator<Uint8Array> {
  for (let at = 0; at < blob.length; ) {
    const size = 1 + below(below(2) === 0 ? 40 : 5000)
    yield blob.subarray(at, at + size)
    at += size
  }
}

/** All that `stat` knows of what must not change. */
const outsideOf = (path: string): unknown =>
  ['', 'secret', 'dir', 'dir/f'].map((name) => {
    const file = join(path, name)
    const { mode, uid, gid, size, mtimeNs, ctimeNs, nlink } = fs.lstatSync(file, { bigint: true })
    const inside = fs.statSync(file).isDirectory()
      ? fs.readdirSync(file)
      : fs.readFileSync(file, 'utf8')
    return { mode, uid, gid, size, mtimeNs, ctimeNs, nlink, inside }
  })

/** An error that says what is wrong with the layer. */
function assertTold(err: unknown): void {
  const told =
    err instanceof TarError ||
    err instanceof CodedError ||
    (err instanceof Error &&
      'code' in err &&
      typeof err.code === 'string' &&
      !err.code.startsWith('ERR_')) ||
    (err instanceof Error && /^(gzip|invalid input|too many links)/.test(err.message))
  assert.ok(told, err instanceof Error ? (err.stack ?? err.message) : String(err))
}

async function oneCase(at: string, { below, count }: Cycle): Promise<void> {
  const [path, lower] = [join(at, 'root'), join(at, 'lower')]
  fs.mkdirSync(path)
  const overlay = below(2) === 0
  const target: ExtractTarget = overlay
    ? {
        path,
        overlay: { lowers: below(2) === 0 ? [lower] : [], userxattr: false, alone: below(4) === 0 },
      }
    : { path }
  for (let layer = 0; layer < 2; layer++) {
    const pieces = [...inPieces(randomBlob(below), below)]
    try {
      await applyLayer(pieces, target, { compressed: true, limits, check() {} })
      count('unpacked')
    } catch (err) {
      assertTold(err)
      count('refused')
    }
  }
  fs.rmSync(path, { recursive: true })
}

void suite('random layers', () => {
  void test('are unpacked or refused, below their root', {
    timeout: soakMs(240_000),
  }, async (t) => {
    if (!asRoot(t)) return
    using dir = fs.mkdtempDisposableSync(join(tmpdir(), 'unpack-fuzz-'))
    using undo = new DisposableStack()
    mountAll([{ type: 'tmpfs', source: 'tmpfs', options: ['size=256m'] }], dir.path)
    undo.defer(() => unmountRecursive(dir.path))
    const outside = join(dir.path, 'outside')
    fs.mkdirSync(join(outside, 'dir'), { recursive: true })
    fs.mkdirSync(join(dir.path, 'lower/d/e'), { recursive: true })
    fs.symlinkSync('../outside', join(dir.path, 'lower/a'))
    for (const name of ['secret', 'dir/f']) fs.writeFileSync(join(outside, name), name)
    const before = outsideOf(outside)
    const open = fs.readdirSync('/proc/self/fd').length
    await soak('unpack-fuzz', 4, async (cycle) => {
      for (let i = 0; i < casesPerCycle; i++) await oneCase(dir.path, cycle)
      assert.deepEqual(outsideOf(outside), before)
      assert.equal(fs.readdirSync('/proc/self/fd').length, open)
      assert.deepEqual(fs.readdirSync(dir.path).toSorted(), ['lower', 'outside'])
    })
  })
})
