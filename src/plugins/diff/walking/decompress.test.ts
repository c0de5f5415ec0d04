import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'

import { decompress } from './decompress.ts'
import { detectCompression } from '#lib/bytes/compression.ts'

import { mayBeCompressed } from './media-type.ts'

const bytes = Buffer.concat([randomBytes(1_000_000), Buffer.alloc(5_000_000, 'text ')])
const skippable = Buffer.from('502a4d1804000000', 'hex')

/** `whole` in pieces, and how many of them were asked for. */
function inPieces(whole: Uint8Array): {
  readonly asked: () => number
  pieces(): Generator<Uint8Array>
} {
  let asked = 0
  return {
    asked: () => asked,
    *pieces() {
      for (let at = 0; at < whole.length; at += 10_000) {
        asked++
        yield whole.subarray(at, at + 10_000)
      }
    },
  }
}

async function result(whole: Uint8Array, detect = true): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  await decompress(inPieces(whole).pieces(), {
    detect,
    onData(piece) {
      pieces.push(new Uint8Array(piece))
    },
  })
  return Buffer.concat(pieces)
}

const forms: readonly [string, Uint8Array][] = [
  ['nothing', bytes],
  ['gzip', gzipSync(bytes)],
  [
    'gzip in two members',
    Buffer.concat([gzipSync(bytes.subarray(0, 9)), gzipSync(bytes.subarray(9))]),
  ],
  ['zstd', zstdCompressSync(bytes)],
  [
    'zstd behind a skippable frame',
    Buffer.concat([skippable, Buffer.from('skip'), zstdCompressSync(bytes)]),
  ],
]

for (const [name, whole] of forms) {
  test(`what was compressed with ${name} comes back in order`, async () => {
    assert.ok((await result(whole)).equals(bytes))
  })
}

test('without detection bytes are passed on as they are', async () => {
  const zip = gzipSync(bytes)
  assert.ok((await result(zip, false)).equals(zip))
})

test('the memory of what was used is freed at once, and that of the source is not', async () => {
  const source = gzipSync(bytes)
  const used: Uint8Array[] = []
  await decompress([source], { detect: true, onData: (piece) => void used.push(piece) })
  const kept = used.filter(({ length }) => length > 0)
  assert.ok(used.length > 10 && kept.length <= 2, `${kept.length} of ${used.length} kept`)
  assert.ok(source.equals(gzipSync(bytes)))
})

test('a source may use the memory of short pieces again for the next but one', async () => {
  function* inTurns(whole: Uint8Array): Generator<Uint8Array> {
    const buffers = [Buffer.alloc(20_000), Buffer.alloc(20_000)]
    for (let at = 0, turn = 0; at < whole.length; at += 20_000, turn = 1 - turn) {
      const piece = buffers[turn] ?? Buffer.alloc(0)
      yield piece.subarray(0, Buffer.from(whole.subarray(at, at + 20_000)).copy(piece))
    }
  }
  for (const whole of [gzipSync(bytes), zstdCompressSync(bytes)]) {
    const pieces: Uint8Array[] = []
    await decompress(inTurns(whole), {
      detect: true,
      onData: (piece) => void pieces.push(new Uint8Array(piece)),
    })
    assert.ok(Buffer.concat(pieces).equals(bytes))
  }
})

test('a stream that is cut short is an error', async () => {
  for (const whole of [gzipSync(bytes), zstdCompressSync(bytes)]) {
    await assert.rejects(result(whole.subarray(0, whole.length / 2)), /unexpected end of file/)
  }
})

test('an error of who takes the pieces ends it, and nothing more is read', async () => {
  const source = inPieces(gzipSync(randomBytes(20_000_000)))
  const enough = new Error('enough')
  const failing = decompress(source.pieces(), {
    detect: true,
    onData() {
      throw enough
    },
  })
  await assert.rejects(failing, (err) => err === enough)
  assert.ok(source.asked() < 1000)
})

test('nothing at all is nothing', async () => {
  assert.equal((await result(new Uint8Array())).length, 0)
  assert.equal(detectCompression(new Uint8Array()), 'none')
})

test('types say whether the first bytes are looked at', () => {
  const oci = 'application/vnd.oci.image.layer'
  const docker = 'application/vnd.docker.image.rootfs'
  assert.equal(mayBeCompressed(`${oci}.v1.tar`), false)
  assert.equal(mayBeCompressed(`${oci}.nondistributable.v1.tar+gzip`), true)
  assert.equal(mayBeCompressed(`${oci}.v1.tar+zstd`), true)
  assert.equal(mayBeCompressed(`${docker}.diff.tar`), true)
  assert.equal(mayBeCompressed(`${docker}.foreign.diff.tar.gzip`), true)
  for (const type of [`${oci}.v1.tar+encrypted`, `${docker}.diff.tar+gzip`, 'text/plain', '']) {
    assert.throws(() => mayBeCompressed(type), { code: 'unimplemented' })
  }
})
