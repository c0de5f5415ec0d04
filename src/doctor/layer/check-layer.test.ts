import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'

import { parseTar } from '#lib/tar/parser.ts'
import { encodeHeader, endOfArchive, type EntryToWrite, paddingOf } from '#lib/tar/writer.ts'
import { Extractor, type ExtractTarget } from '#plugins/diff/walking/extractor.ts'
import { AT_FDCWD, AT_SYMLINK_NOFOLLOW, utimensat } from '#sys/file.ts'
import { makeDevice, mknodat, NodeType } from '#sys/node.ts'
import { lremovexattr, lsetxattr } from '#sys/xattr.ts'
import { random } from '#testing/random.ts'
import { root } from '#testing/root.ts'

import { checkLayer, type LayerVerdict } from './check-layer.ts'

type Part = EntryToWrite & { readonly content?: string }
type Below = (limit: number) => number

function archive(parts: readonly Part[]): Uint8Array {
  const pieces = parts.flatMap(({ content = '', ...entry }) => [
    encodeHeader({ ...entry, size: content.length }),
    Buffer.from(content),
    new Uint8Array(paddingOf(content.length)),
  ])
  return Buffer.concat([...pieces, endOfArchive])
}

/** A place with layers in it: `<n>.tar`, unpacked to `<n>` beside each other, and to `all`. */
class Layers implements Disposable {
  readonly path: string = fs.mkdtempSync(join(tmpdir(), 'wharf-layers-'))
  count = 0

  add(parts: readonly Part[]): void {
    const bytes = archive(parts)
    const number = this.count
    fs.writeFileSync(this.#blob(number), bytes)
    const below = Array.from({ length: number }, (_, i) => this.directory(number - 1 - i))
    fs.mkdirSync(this.directory(number))
    const overlay = number === 0 ? undefined : { lowers: below, userxattr: false }
    unpack(bytes, { path: this.directory(number), overlay })
    fs.mkdirSync(join(this.path, 'all'), { recursive: true })
    unpack(bytes, { path: join(this.path, 'all') })
    this.count++
  }

  /** The top layer beside those below it. */
  async checkTop(): Promise<LayerVerdict> {
    const top = this.count - 1
    const whiteouts = top === 0 ? 'remove' : 'overlay'
    return await this.#check([top], this.directory(top), whiteouts)
  }

  /** All layers in one tree. */
  async checkAll(): Promise<LayerVerdict> {
    const all = Array.from({ length: this.count }, (_, i) => i)
    return await this.#check(all, join(this.path, 'all'), 'remove')
  }

  directory(number: number): string {
    return join(this.path, String(number))
  }

  #blob(number: number): string {
    return join(this.path, `${number}.tar`)
  }

  async #check(
    numbers: readonly number[],
    directory: string,
    whiteouts: 'overlay' | 'remove',
  ): Promise<LayerVerdict> {
    const blobs = numbers.map((number) => ({ path: this.#blob(number), compressed: false }))
    return await checkLayer({ blobs, directory, whiteouts, told: 100, onRead: () => undefined })
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.path, { recursive: true })
  }
}

/** Unpacks as a daemon does, but for waiting until it is on disk. */
function unpack(bytes: Uint8Array, target: ExtractTarget): void {
  using extractor = new Extractor(target)
  parseTar([bytes], extractor)
  extractor.finish()
}

const names = ['a', 'b', 'c'] as const

/** A path of one to three of few names, so that entries meet. */
const pathOf = (below: Below): string =>
  Array.from({ length: 1 + below(3) }, () => names[below(names.length)]).join('/')

function partOf(below: Below): Part {
  const name = pathOf(below)
  const common = {
    name,
    mode: [0o644, 0o755, 0o4711, 0o1777][below(4)] ?? 0,
    uid: below(3),
    gid: below(3),
    mtime: BigInt(1_600_000_000 + below(1000)) * 1_000_000_000n + BigInt(below(2) * below(1e9)),
  }
  const linkName = [pathOf(below), `/${pathOf(below)}`, `../${pathOf(below)}`][below(3)] ?? ''
  switch (below(10)) {
    case 0:
    case 1:
    case 2:
      return { ...common, type: 'directory', name: `${name}/` }
    case 3:
      return { ...common, type: 'symlink', linkName }
    case 4:
      return { ...common, type: 'hardlink', linkName: pathOf(below) }
    case 5:
      return { ...common, type: 'fifo' }
    case 6:
      return { ...common, type: 'file', mode: 0, name: name.replace(/[^/]+$/, '.wh.$&') }
    case 7:
      return { ...common, type: 'file', mode: 0, name: `${name}/.wh..wh..opq` }
    default:
      return {
        ...common,
        type: 'file',
        content: 'x'.repeat(below(3) * below(2000)),
        ...(below(4) === 0 && { xattrs: new Map([['user.k', Buffer.of(below(256))]]) }),
      }
  }
}

/** The same for every test: something of each kind. */
const everything: readonly Part[] = [
  { type: 'directory', name: 'd/', mode: 0o750, uid: 1, gid: 2, mtime: 5n },
  {
    type: 'file',
    name: 'd/file',
    mode: 0o644,
    content: 'x'.repeat(300_000),
    mtime: 1_000_000_001n,
  },
  {
    type: 'file',
    name: 'd/tagged',
    mode: 0o644,
    content: '',
    xattrs: new Map([['user.k', Buffer.of(7)]]),
  },
  { type: 'hardlink', name: 'd/again', linkName: 'd/file', mode: 0o644, mtime: 1_000_000_001n },
  { type: 'symlink', name: 'd/link', linkName: 'file', mode: 0o777, mtime: 9n },
  { type: 'character', name: 'd/null', mode: 0o666, major: 1, minor: 3 },
  { type: 'file', name: 'd/.wh.gone', mode: 0 },
  { type: 'directory', name: 'hides/', mode: 0o755 },
  { type: 'file', name: 'hides/.wh..wh..opq', mode: 0 },
]

/** What may befall a layer, and how the doctor puts it. */
const damages: Readonly<Record<string, readonly [change: (at: string) => void, told: RegExp]>> = {
  'an empty file': [
    (at) => fs.truncateSync(`${at}/d/file`, 0),
    /^d\/(file|again): 0 bytes instead of 300000/,
  ],
  'a shorter file': [
    (at) => fs.truncateSync(`${at}/d/file`, 299_999),
    /299999 bytes instead of 300000/,
  ],
  'other content': [(at) => write(`${at}/d/file`, 270_000), /: other content from byte 270000 on/],
  'a missing file': [(at) => fs.rmSync(`${at}/d/tagged`), /^d\/tagged: missing file/],
  'a new file': [(at) => fs.writeFileSync(`${at}/d/new`, ''), /^d\/new: not in the layer/],
  'another owner': [(at) => fs.chownSync(`${at}/d/file`, 7, 8), /owner 7:8 instead of 0:0/],
  'another mode': [(at) => fs.chmodSync(`${at}/d/file`, 0o4644), /mode 04644 instead of 0644/],
  'another time': [
    (at) => utimensat(AT_FDCWD, `${at}/d/link`, { atime: 0n, mtime: 10n }, AT_SYMLINK_NOFOLLOW),
    /^d\/link: modified 1970-01-01T00:00:00.000000010Z instead of 1970-01-01T00:00:00.000000009Z/,
  ],
  'another attribute': [
    (at) => lsetxattr(`${at}/d/tagged`, 'user.k', Buffer.of(8)),
    /^d\/tagged: another value of attribute user.k/,
  ],
  'a missing attribute': [
    (at) => lremovexattr(`${at}/d/tagged`, 'user.k'),
    /^d\/tagged: without attribute user.k/,
  ],
  'a link that is none any more': [
    (at) => {
      fs.copyFileSync(`${at}/d/file`, `${at}/d/copy`)
      fs.renameSync(`${at}/d/copy`, `${at}/d/again`)
    },
    /no longer the same file as its other names/,
  ],
  'another kind of file': [
    (at) => replace(`${at}/d/tagged`, (path) => fs.symlinkSync('file', path)),
    /^d\/tagged: symbolic link instead of file/,
  ],
  'another device': [
    (at) =>
      replace(`${at}/d/null`, (path) =>
        mknodat(AT_FDCWD, path, NodeType.character, makeDevice(1, 5)),
      ),
    /^d\/null: device 1:5 instead of 1:3/,
  ],
  'a missing mark of a deleted file': [
    (at) => fs.rmSync(`${at}/d/gone`),
    /^d\/gone: missing mark of a deleted file/,
  ],
  'a directory that no longer hides': [
    (at) => lremovexattr(`${at}/hides`, 'trusted.overlay.opaque'),
    /^hides: does not hide what is below it/,
  ],
}

function write(path: string, at: number): void {
  const fd = fs.openSync(path, 'r+')
  fs.writeSync(fd, 'y', at)
  fs.closeSync(fd)
  utimensat(AT_FDCWD, path, { atime: 0n, mtime: 1_000_000_001n })
}

function replace(path: string, make: (path: string) => void): void {
  fs.rmSync(path)
  make(path)
}

void suite('a layer is compared with its blob', () => {
  for (const [what, [change, told]] of Object.entries(damages)) {
    void test(`${what} is told`, async (t: TestContext) => {
      if (!root(t)) return
      using layers = new Layers()
      layers.add([{ type: 'directory', name: 'hides/', mode: 0o755 }])
      layers.add(everything)
      assert.deepEqual((await layers.checkTop()).differences, [])
      change(layers.directory(1))
      const { different, differences } = await layers.checkTop()
      assert.ok(different > 0)
      assert.ok(
        differences.some((line) => told.test(line)),
        differences.join('\n'),
      )
    })
  }

  void test('whatever is in it, what was unpacked is what is expected', async (t: TestContext) => {
    if (!root(t)) return
    let compared = 0
    for (let seed = 1; seed <= 600; seed++) {
      const below = random(seed)
      using layers = new Layers()
      for (let i = 0; i < 2; i++) {
        const parts = Array.from({ length: 1 + below(12) }, () => partOf(below))
        try {
          layers.add(parts)
        } catch {
          // Such as a hard link to nothing: no layer that anybody has unpacked.
          break
        }
        const shown = JSON.stringify(parts, (_, value: unknown) =>
          typeof value === 'bigint' ? String(value) : value,
        )
        assert.deepEqual((await layers.checkTop()).differences, [], `seed ${seed}: ${shown}`)
        assert.deepEqual((await layers.checkAll()).differences, [], `seed ${seed}: ${shown}`)
        compared++
      }
    }
    t.diagnostic(`${compared} layers compared`)
    assert.ok(compared > 100)
  })
})
