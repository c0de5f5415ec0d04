import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { constants, gzipSync, zstdCompressSync } from 'node:zlib'

import { endOfArchive } from '#lib/tar/writer.ts'
import { inPlace } from '#testing/extract-place.ts'
import { archive, dir, entryBytes, file } from '#testing/layer-archive.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { applyLayer, type ApplyLayerOptions } from './apply-layer.ts'
import { type LayerLimits, noLimits } from './limits.ts'
import { walkingDefaults } from './plugin.ts'

/*
 * Layers that are little and become much, or that never end. The bounds are those of the plugin's
 * config; some are smaller here, to be quick.
 */

type Options = Partial<LayerLimits> & Pick<Partial<ApplyLayerOptions>, 'check'>

async function apply(
  path: string,
  pieces: Iterable<Uint8Array>,
  { check = () => {}, ...limits }: Options = {},
): Promise<void> {
  await applyLayer(
    pieces,
    { path },
    { compressed: true, check, limits: { ...noLimits, ...limits } },
  )
}

function* repeat(piece: Uint8Array, times: number): Generator<Uint8Array> {
  for (let i = 0; i < times; i++) yield piece
}

/** Stops at the `times`th call. */
function stopAfter(times: number): () => void {
  let calls = 0
  return () => {
    if (++calls > times) throw new Error('stopped')
  }
}

const zeros = Buffer.alloc(32 << 20)
const oneFile = archive(file('f'))
const { maxExpansionRatio: maxRatio } = walkingDefaults
const isTooMuch =
  /^layer becomes more than \d+ times its size \(\d+ bytes of \d+\); max_expansion_ratio of \[plugins\."io\.containerd\.differ\.v1\.walking"\] permits more/

inPlace('a zstd bomb of many frames is stopped by its ratio, past 1 GiB', async ({ root }) => {
  const frames = [zstdCompressSync(oneFile), ...repeat(zstdCompressSync(zeros), 40)]
  await rejectsWith('resource_exhausted', apply(root, frames, { maxRatio }), isTooMuch)
  await apply(root, frames.slice(0, 20), { maxRatio })
})

inPlace('a gzip bomb of many members is stopped by its ratio, past 1 GiB', async ({ root }) => {
  const members = [gzipSync(oneFile), ...repeat(gzipSync(zeros), 40)]
  await rejectsWith('resource_exhausted', apply(root, members, { maxRatio }), isTooMuch)
})

inPlace(
  'a layer that begins with much of nothing is taken by all of its size',
  async ({ root }) => {
    const pieces = [
      gzipSync(oneFile),
      ...repeat(gzipSync(zeros), 40),
      gzipSync(randomBytes(4 << 20)),
    ]
    const blobBytes = pieces.reduce((sum, { length }) => sum + length, 0)
    await apply(root, pieces, { maxRatio, blobBytes })
    await rejectsWith(
      'resource_exhausted',
      apply(root, pieces.slice(0, -1), { maxRatio }),
      isTooMuch,
    )
  },
)

inPlace('a layer is stopped when it is larger than it may be', async ({ root }) => {
  const bytes = archive(file('f', 'x'.repeat(100_000)))
  const tooLarge = /^layer becomes more than 50000 bytes; max_layer_bytes of /
  for (const blob of [bytes, gzipSync(bytes), zstdCompressSync(bytes)]) {
    await rejectsWith('resource_exhausted', apply(root, [blob], { maxBytes: 50_000 }), tooLarge)
    await apply(root, [blob], { maxBytes: bytes.length })
  }
})

inPlace('a layer is stopped when it has more entries than it may', async ({ root }) => {
  const entries = [...repeat(entryBytes(file('again')), 1000), endOfArchive]
  const tooMany = /^layer has more than 999 entries; max_layer_entries of /
  await rejectsWith('resource_exhausted', apply(root, entries, { maxEntries: 999 }), tooMany)
  await apply(root, entries, { maxEntries: 1000 })
  const whiteouts = [...repeat(entryBytes(file('.wh.x')), 10)]
  await rejectsWith('resource_exhausted', apply(root, whiteouts, { maxEntries: 9 }))
})

/** A zstd frame that says how far back it may refer, with a block of `text`. */
function frameWithWindow(log: number, text: string): Buffer {
  const size = Buffer.alloc(3)
  size.writeUIntLE((text.length << 3) | 1, 0, 3)
  const head = Buffer.of(0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3)
  return Buffer.concat([head, size, Buffer.from(text, 'latin1')])
}

inPlace('zstd gets no more memory than Go gives it', async ({ root }) => {
  const text = oneFile.toString('latin1')
  await apply(root, [frameWithWindow(26, text)])
  assert.deepEqual(readdirSync(root), ['f'])
  for (const log of [27, 31, 41]) {
    await assert.rejects(
      apply(root, [frameWithWindow(log, text)]),
      /Frame requires too much memory/,
    )
  }
})

/** A header that is about the next one, with as much content as it may have. */
function extension(flag: string, size: number): Buffer {
  const bytes = entryBytes({ ...file('x'), content: Buffer.alloc(size, 'n') })
  bytes[156] = flag.charCodeAt(0)
  return reseal(bytes)
}

inPlace(
  'headers that never end are read without keeping them, until that is too much',
  async ({ root }) => {
    for (const flag of ['g', 'L', 'K']) {
      const flood = (): Iterable<Uint8Array> => repeat(extension(flag, 1 << 20), 40)
      // Of no effect on what follows, it may end with the archive.
      if (flag === 'g') await apply(root, flood())
      else await assert.rejects(apply(root, flood()), /unexpected EOF/)
      await rejectsWith('resource_exhausted', apply(root, flood(), { maxBytes: 20 << 20 }))
    }
    await assert.rejects(apply(root, [extension('x', 1 << 20)]), /invalid tar header/)
    for (const flag of ['g', 'L', 'K', 'x']) {
      const declared = extension(flag, 1)
      declared.write('00777777777\0', 124, 'latin1')
      await assert.rejects(apply(root, [reseal(declared)]), /header field too long/)
    }
  },
)

function reseal(bytes: Buffer): Buffer {
  const header = bytes.subarray(0, 512)
  header.fill(0x20, 148, 156)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0`, 148, 'latin1')
  return bytes
}

inPlace('members and frames that make nothing can be stopped all the same', async ({ root }) => {
  const skippable = Buffer.alloc(65_536)
  skippable.writeUInt32LE(0x184d2a50, 0)
  skippable.writeUInt32LE(65_528, 4)
  const nothing = gzipSync('')
  for (const piece of [skippable, Buffer.concat([...repeat(nothing, 1000)])]) {
    await assert.rejects(apply(root, repeat(piece, Infinity), { check: stopAfter(300) }), /stopped/)
  }
})

inPlace('what follows a stream and is no further part of it is damage', async ({ root }) => {
  const forms = {
    gzip: [gzipSync(oneFile), /invalid header|incorrect header check|unexpected end of file/],
    zstd: [zstdCompressSync(oneFile), /magic number mismatch|Unknown frame descriptor/],
  } as const
  for (const [form, [blob, error]] of Object.entries(forms)) {
    for (const rest of ['\0', '\0'.repeat(600), 'garbage, and more of it', '\x1f']) {
      const tail = Buffer.from(rest, 'latin1')
      await assert.rejects(apply(root, [Buffer.concat([blob, tail])]), error, `${form} ${rest}`)
      await assert.rejects(apply(root, [blob, tail]), error, `${form}, ${rest}`)
    }
    await apply(root, [blob, blob.subarray(0, 0)])
  }
})

inPlace('members may begin anywhere', async ({ root }) => {
  const text = archive(dir('d/'), file('d/f', 'x'.repeat(2000)))
  const compress = {
    gzip: (part: Buffer) => gzipSync(part),
    zstd: (part: Buffer) =>
      zstdCompressSync(part, { params: { [constants.ZSTD_c_checksumFlag]: 1 } }),
  }
  for (const make of Object.values(compress)) {
    const [first, second] = [make(text.subarray(0, 700)), make(text.subarray(700))]
    const whole = Buffer.concat([first, second])
    for (const at of [1, first.length - 1, first.length, first.length + 1, whole.length - 1]) {
      await apply(root, [whole.subarray(0, at), whole.subarray(at)])
    }
    await apply(root, [first, make(Buffer.alloc(0)), second])
  }
})
