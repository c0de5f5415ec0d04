import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  ftruncateSync,
  linkSync,
  mkdirSync,
  mkdtempDisposableSync,
  openSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { assert as check, integer, property, uint8Array } from 'fast-check'

import type { Entry } from './entry.ts'
import { parseTar } from './parser.ts'
import { encodeHeader, endOfArchive, type EntryToWrite, paddingOf } from './writer.ts'

interface Read extends Entry {
  readonly content: Buffer
}

/**
 * Parses `archive` in chunks of `chunkSize`, content put together with its holes as zeros. A chunk is
 * something else once it is used.
 */
function read(archive: Uint8Array, chunkSize = 65_536): readonly Read[] {
  const entries: Read[] = []
  function* chunks(): Generator<Uint8Array> {
    for (let at = 0; at < archive.length; at += chunkSize) {
      const chunk = Buffer.from(archive.subarray(at, at + chunkSize))
      yield chunk
      chunk.fill(0xee)
    }
  }
  let open: Read | undefined
  parseTar(chunks(), {
    entry(entry) {
      open = { ...entry, content: Buffer.alloc(Math.min(entry.size, 64 << 20)) }
    },
    data(bytes, offset) {
      open?.content.set(bytes, offset)
    },
    end() {
      if (open) entries.push(open)
      open = undefined
    },
  })
  return entries
}

const byName = (entries: readonly Read[]): ReadonlyMap<string, Read> =>
  new Map(entries.map((entry) => [entry.name, entry]))

const tar = (...args: readonly string[]): Buffer =>
  execFileSync('tar', ['--sort=name', '-cf', '-', ...args], { maxBuffer: 64 << 20 })

const long = (text: string): string => `${text.repeat(40)}/${text.repeat(60)}`

/** A tree with every kind of file that needs no root. */
function makeTree(path: string): void {
  mkdirSync(join(path, long('dir').slice(0, 120)), { recursive: true })
  writeFileSync(join(path, 'plain'), 'content')
  writeFileSync(join(path, 'empty'), '')
  writeFileSync(join(path, 'block'), Buffer.alloc(512, 7))
  writeFileSync(join(path, 'naïve'), 'x'.repeat(5000))
  writeFileSync(Buffer.concat([Buffer.from(`${path}/bad`), Buffer.of(0xff)]), '')
  writeFileSync(join(path, 'n'.repeat(150)), 'long')
  linkSync(join(path, 'plain'), join(path, 'second'))
  symlinkSync('t'.repeat(180), join(path, 'symlink'))
  utimesSync(join(path, 'plain'), 1_700_000_000.25, 1_600_000_000.5)
}

for (const format of ['gnu', 'oldgnu', 'pax', 'ustar']) {
  for (const chunkSize of [65_536, 1000, 1]) {
    test(`what tar writes as ${format} is read, in chunks of ${chunkSize}`, () => {
      using dir = mkdtempDisposableSync(join(tmpdir(), 'wharf-tar-'))
      makeTree(dir.path)
      const fits =
        format === 'ustar'
          ? ['--exclude=n*n', '--exclude=symlink', '--exclude=bad*', '--exclude=dir*']
          : []
      const entries = byName(
        read(tar(`--format=${format}`, ...fits, '-C', dir.path, '.'), chunkSize),
      )
      assert.equal(entries.get('./plain')?.content.toString(), 'content')
      assert.equal(entries.get('./empty')?.size, 0)
      assert.deepEqual(entries.get('./block')?.content, Buffer.alloc(512, 7))
      assert.equal(entries.get('./naïve')?.content.length, 5000)
      assert.equal(entries.get('./')?.type, 'directory')
      assert.equal(entries.get('./second')?.type, 'hardlink')
      assert.equal(entries.get('./second')?.linkName, './plain')
      assert.equal(
        entries.get('./plain')?.mtime,
        format === 'pax' ? 1_600_000_000_500_000_000n : 1_600_000_000_000_000_000n,
      )
      if (format === 'ustar') return
      assert.equal(entries.get('./symlink')?.linkName, 't'.repeat(180))
      assert.equal(entries.get(`./${'n'.repeat(150)}`)?.content.toString(), 'long')
      assert.ok(entries.has('./bad\udcff'))
    })
  }
}

/** A file with data at some places and holes between and behind. */
function makeSparse(path: string, places: readonly number[], size: number): Buffer {
  const fd = openSync(path, 'w')
  const expected = Buffer.alloc(size)
  for (const place of places) {
    writeSync(fd, `here ${place}`, place)
    expected.write(`here ${place}`, place)
  }
  ftruncateSync(fd, size)
  closeSync(fd)
  return expected
}

const sparseForms = [
  ['--format=gnu'],
  ['--format=pax', '--sparse-version=0.0'],
  ['--format=pax', '--sparse-version=0.1'],
  ['--format=pax', '--sparse-version=1.0'],
]

for (const form of sparseForms) {
  test(`a sparse file is read as it was: ${form.join(' ')}`, () => {
    using dir = mkdtempDisposableSync(join(tmpdir(), 'wharf-tar-'))
    const places = Array.from({ length: 40 }, (_, i) => i * 100_000 + 17)
    const expected = makeSparse(join(dir.path, 'sparse'), places, 4_200_000)
    writeFileSync(join(dir.path, 'z'), 'after')
    const archive = tar('--sparse', ...form, '-C', dir.path, 'sparse', 'z')
    assert.ok(archive.length < 1_000_000)
    for (const chunkSize of [65_536, 700]) {
      const entries = byName(read(archive, chunkSize))
      assert.equal(entries.get('sparse')?.size, 4_200_000)
      assert.ok(entries.get('sparse')?.content.equals(expected))
      assert.equal(entries.get('z')?.content.toString(), 'after')
    }
  })
}

test('attributes of pax are bytes by name', () => {
  const xattrs = new Map([['user.bin', Buffer.of(0, 255, 10, 61)]])
  const [entry] = read(write({ type: 'file', name: 'f', mode: 0o4755, xattrs }))
  assert.deepEqual(Buffer.from(entry?.xattrs.get('user.bin') ?? []), Buffer.of(0, 255, 10, 61))
  assert.equal(entry?.mode, 0o4755)
})

function write(...entries: readonly (EntryToWrite & { readonly content?: Uint8Array })[]): Buffer {
  const parts = entries.flatMap(({ content = new Uint8Array(), ...entry }) => [
    encodeHeader({ ...entry, size: content.length }),
    content,
    new Uint8Array(paddingOf(content.length)),
  ])
  return Buffer.concat([...parts, endOfArchive])
}

test('what is written is read by tar, and by us, whatever the names and numbers', () => {
  using dir = mkdtempDisposableSync(join(tmpdir(), 'wharf-tar-'))
  const entry = {
    type: 'file',
    name: `${long('ü')}/f`,
    mode: 0o640,
    uid: 3_000_000,
    gid: 5,
    mtime: -1_500_000_000n,
    atime: 12_345_678_901n,
  } as const
  const archive = write({ ...entry, content: Buffer.from('hello') })
  writeFileSync(join(dir.path, 'a.tar'), archive)
  const listing = execFileSync('tar', [
    '-tvf',
    join(dir.path, 'a.tar'),
    '--numeric-owner',
    '--quoting-style=literal',
  ])
  assert.match(String(listing), new RegExp(`3000000/5 +5 .*${entry.name}`))
  const [found] = read(archive)
  for (const key of ['name', 'uid', 'gid', 'mtime', 'atime'] as const) {
    assert.equal(found?.[key], entry[key])
  }
})

test('numbers that octal cannot hold are binary', () => {
  const size = 9 * 2 ** 30
  const block = encodeHeader({ type: 'file', name: 'big', mode: 0o644, size: 0 })
  const binary = Buffer.alloc(12)
  binary.writeUInt8(0x80, 0)
  binary.writeBigUInt64BE(BigInt(size), 4)
  block.set(binary, 124)
  reseal(block)
  let seen: Entry | undefined
  const sink = {
    entry: (entry: Entry): void => {
      seen = entry
    },
    data() {},
    end() {},
  }
  assert.throws(() => parseTar([block], sink), /unexpected EOF/)
  assert.equal(seen?.size, size)
})

/** Corrects the checksum of a block that was changed. */
function reseal(block: Uint8Array): void {
  block.fill(0x20, 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.set(Buffer.from(`${sum.toString(8).padStart(6, '0')}\0`), 148)
}

test('an archive that is cut short or damaged is an error', () => {
  const archive = write({ type: 'file', name: 'f', mode: 0o644, content: Buffer.alloc(1000, 1) })
  for (const length of [100, 512, 600, 1500]) {
    assert.throws(() => read(archive.subarray(0, length)), { name: 'TarError' })
  }
  const damaged = Buffer.from(archive)
  damaged[3] = 0x41
  assert.throws(() => read(damaged), /invalid tar header/)
  assert.throws(() => read(Buffer.alloc(512, 'x')), /invalid tar header/)
})

test('an archive without its end mark is whole, and what follows the mark is ignored', () => {
  const archive = write({ type: 'file', name: 'f', mode: 0o644 })
  assert.equal(read(archive.subarray(0, 512)).length, 1)
  assert.equal(read(archive.subarray(0, 1024)).length, 1)
  assert.equal(read(Buffer.concat([archive, Buffer.alloc(5000, 'junk')])).length, 1)
  assert.deepEqual(read(new Uint8Array()), [])
})

test('an extended header above its limit is refused before it is kept', () => {
  const block = encodeHeader({ type: 'file', name: 'x', mode: 0, size: (1 << 20) + 1 })
  for (const flag of ['x', 'g', 'L', 'K']) {
    block[156] = flag.charCodeAt(0)
    reseal(block)
    assert.throws(() => read(block), /header field too long/)
  }
})

test('a type that is no file is refused', () => {
  const block = encodeHeader({ type: 'file', name: 'x', mode: 0 })
  block[156] = 'V'.charCodeAt(0)
  reseal(block)
  assert.throws(() => read(block), /unhandled tar header type 86/)
})

test('pieces of a sparse file that overlap or leave the file are refused', () => {
  for (const map of ['0,512,100,512', '0,4096', '600,1024']) {
    const pax = `GNU.sparse.map=${map}\nGNU.sparse.size=1536\n`
    assert.throws(() => read(withPax(pax, 1024)), /invalid tar header/)
  }
})

/** A file of `size` bytes behind an extended header with the records in `lines`. */
function withPax(lines: string, size: number): Buffer {
  const content = Buffer.concat(
    lines
      .trim()
      .split('\n')
      .map((line) => {
        const rest = line.length + 2
        const length = rest + String(rest + 2).length
        return Buffer.from(`${length} ${line}\n`)
      }),
  )
  const header = encodeHeader({ type: 'file', name: 'pax', mode: 0, size: content.length })
  header[156] = 'x'.charCodeAt(0)
  reseal(header)
  return Buffer.concat([
    header,
    content,
    new Uint8Array(paddingOf(content.length)),
    encodeHeader({ type: 'file', name: 'f', mode: 0o644, size }),
    Buffer.alloc(size),
    endOfArchive,
  ])
}

test('no bytes make the parser do anything but read or refuse', () => {
  const archive = write(
    { type: 'file', name: 'n'.repeat(200), mode: 0o644, content: Buffer.alloc(700, 1) },
    { type: 'symlink', name: 'l', mode: 0o777, linkName: 'x' },
  )
  const anywhere = integer({ min: 0, max: archive.length - 1 })
  check(
    property(anywhere, uint8Array({ minLength: 1, maxLength: 16 }), (at, bytes) => {
      const damaged = Buffer.from(archive)
      damaged.set(bytes.subarray(0, archive.length - at), at)
      try {
        read(damaged)
      } catch (err) {
        assert.ok(err instanceof Error)
        assert.equal(err.name, 'TarError', err.stack ?? '')
      }
    }),
  )
})
