import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'

import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import { readBlob } from '#core/content/read-blob.ts'
import type { CompareOptions } from '#core/diff/diff.ts'
import type { Mount } from '#core/mount/mount.ts'
import { fromBytes } from '#lib/bytes/byte-string.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { parseTar } from '#lib/tar/parser.ts'
import type { Entry } from '#lib/tar/entry.ts'
import { RemoteDiffer } from '#proxy/diff.ts'
import { makeDevice, mkfifo, mknodat, NodeType } from '#sys/node.ts'
import { AT_FDCWD, AT_SYMLINK_NOFOLLOW, utimensat } from '#sys/file.ts'
import { lsetxattr } from '#sys/xattr.ts'
import { everyContainerd } from '#testing/containerd.ts'
import { type TestDaemon, startDaemon } from '#testing/daemon.ts'

/*
 * The same two trees, made into a layer by containerd and by wharfd. What containerd writes is
 * compared bit by bit; only the times of whiteouts are not, which 1.6 takes from its clock.
 */

const layer: string = 'application/vnd.oci.image.layer.v1.tar'
const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex')
const bind = (source: string, mode: 'ro' | 'rw'): readonly Mount[] => [
  { type: 'bind', source, options: [mode, 'rbind'] },
]

/** A tree with every kind of file. Times have fractions, and some are before 1970. */
function makeBase(path: string): void {
  const at = (...names: string[]): string => join(path, ...names)
  for (const name of ['d/sub', 'gone/deep', 'was-dir', 'kept/empty', 'links', 'odd']) {
    fs.mkdirSync(at(name), { recursive: true })
  }
  for (const name of ['d/f', 'd/g', 'd/sub/h', 'gone/deep/f', 'was-dir/f', 'was-file', 'same']) {
    fs.writeFileSync(at(name), name)
  }
  for (const name of ['one', 'two', 'three']) fs.writeFileSync(at('links', name), name)
  fs.linkSync(at('links/one'), at('links/one-more'))
  fs.linkSync(at('links/two'), at('links/a-two'))
  fs.linkSync(at('links/two'), at('links/z-two'))
  fs.symlinkSync('nowhere', at('links/sym'))
  setTimes(path)
}

/** Every file gets a time of its own, in the order of names. */
function setTimes(path: string): void {
  const paths = execFileSync('find', [path, '-depth', '-print0'], { encoding: 'latin1' })
  for (const [i, file] of paths.split('\0').filter(Boolean).toSorted().entries()) {
    const ns = 1_500_000_000_123_456_789n + BigInt(i) * 86_400_000_000_001n
    const time = i % 7 === 3 ? -ns : ns
    const name = fromBytes(Buffer.from(file, 'latin1'))
    utimensat(AT_FDCWD, name, { atime: time, mtime: time }, AT_SYMLINK_NOFOLLOW)
  }
}

/** What changes it in every way. */
function change(path: string): void {
  const at = (...names: string[]): string => join(path, ...names)
  fs.rmSync(at('gone'), { recursive: true })
  fs.rmSync(at('d/g'))
  fs.rmSync(at('was-dir'), { recursive: true })
  fs.writeFileSync(at('was-dir'), 'now a file')
  fs.rmSync(at('was-file'))
  fs.mkdirSync(at('was-file'))
  fs.writeFileSync(at('was-file/x'), 'x')
  fs.appendFileSync(at('d/sub/h'), ', longer')
  fs.chmodSync(at('same'), 0o4711)
  fs.rmSync(at('links/sym'))
  fs.symlinkSync('t'.repeat(140), at('links/sym'))
  fs.writeFileSync(at('links/two'), 'two, changed')
  fs.linkSync(at('links/three'), at('links/new-three'))
  add(path)
}

function add(path: string): void {
  const at = (...names: string[]): string => join(path, ...names)
  const odd = at('odd')
  fs.writeFileSync(join(odd, 'cap'), 'x')
  lsetxattr(join(odd, 'cap'), 'security.capability', capability)
  lsetxattr(join(odd, 'cap'), 'user.not-written', Buffer.from('x'))
  fs.writeFileSync(join(odd, 'big-ids'), '')
  fs.chownSync(join(odd, 'big-ids'), 3_000_000_000, 2_097_152)
  fs.writeFileSync(join(odd, 'sticky'), '')
  fs.chmodSync(join(odd, 'sticky'), 0o7777)
  fs.mkdirSync(join(odd, 'empty-dir'), { mode: 0o1770 })
  mkfifo(join(odd, 'fifo'), 0o640)
  mknodat(AT_FDCWD, join(odd, 'char'), NodeType.character | 0o600, makeDevice(1, 3))
  mknodat(AT_FDCWD, join(odd, 'block'), NodeType.block | 0o600, makeDevice(259, 70_000))
  fs.writeFileSync(join(odd, 'block-sized'), Buffer.alloc(512, 1))
  fs.writeFileSync(join(odd, 'large'), Buffer.alloc(1_234_567, 'data'))
  for (const length of [99, 100, 101, 155, 156, 200, 255]) {
    fs.writeFileSync(join(odd, `${length}`.padEnd(length, 'n')), '')
    fs.mkdirSync(join(odd, `d${length}`.padEnd(length, 'd')))
  }
  const deep = join(odd, ...Array.from({ length: 9 }, (_, i) => `${i}`.repeat(30)))
  fs.mkdirSync(deep, { recursive: true })
  fs.writeFileSync(join(deep, 'file'), 'deep')
  for (const name of ['naïve', 'new\nline', ' space ', '-dash', 'a=b', '日本語'.repeat(12)]) {
    fs.writeFileSync(join(odd, name), name)
  }
  fs.writeFileSync(Buffer.concat([Buffer.from(`${odd}/bad`), Buffer.of(0xff, 0xfe)]), 'bad')
  fs.symlinkSync('ziel/größe', join(odd, 'symlink'))
}

/** Times of whiteouts are made zero, and the checksum with them. */
function withoutWhiteoutTimes(tar: Uint8Array): Buffer {
  const copy = Buffer.from(tar)
  for (let at = 0; at + 512 <= copy.length; ) {
    const block = copy.subarray(at, at + 512)
    if (block[0] === 0) break
    const name = block.toString('latin1', 0, block.indexOf(0))
    const size = Number.parseInt(block.toString('latin1', 124, 135), 8)
    if (/(^|\/)\.wh\.[^/]*$/.test(name)) {
      block.write('00000000000\0', 136, 'latin1')
      block.write('        ', 148, 'latin1')
      const sum = block.reduce((total, byte) => total + byte, 0)
      block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
    }
    at += 512 + Math.ceil(size / 512) * 512
  }
  return copy
}

/** Entries of a layer by name, to say where two differ. */
function entriesOf(tar: Uint8Array): readonly Entry[] {
  const entries: Entry[] = []
  parseTar([tar], { entry: (entry) => void entries.push(entry), data() {}, end() {} })
  return entries
}

/** One line for each entry. */
const listing = (tar: Uint8Array): string =>
  entriesOf(tar)
    .map(({ name, xattrs, ...entry }) =>
      [JSON.stringify(name), ...Object.values(entry), ...xattrs.keys()].join(' '),
    )
    .join('\n')

function decompressed(blob: Uint8Array, mediaType: string): Uint8Array {
  if (mediaType === layer) return blob
  return mediaType.endsWith('zstd') ? zstdDecompressSync(blob) : gunzipSync(blob)
}

for (const peer of everyContainerd()) {
  suite(`layers made by containerd ${peer.version}`, {
    skip: process.getuid?.() !== 0 && 'needs root',
  }, () => {
    const scope = new AsyncDisposableStack()
    let dir: string
    let theirs: Client
    let ours: Client

    before(async () => {
      dir = scope.use(fs.mkdtempDisposableSync(join(tmpdir(), 'diff-go-'))).path
      const start = async (containerd: typeof peer | undefined): Promise<Client> => {
        const daemon: TestDaemon = await startDaemon(containerd ? { containerd } : {})
        scope.use(daemon)
        return scope.use(await connect(daemon.address, { namespace: 'diff' }))
      }
      ;[theirs, ours] = [await start(peer), await start(undefined)]
      for (const name of ['lower', 'upper', 'added', 'none']) fs.mkdirSync(join(dir, name))
      makeBase(join(dir, 'lower'))
      for (const name of ['upper', 'added']) {
        execFileSync('cp', ['-a', `${dir}/lower/.`, join(dir, name)])
      }
      change(join(dir, 'upper'))
      add(join(dir, 'added'))
      const socket = createServer().listen(join(dir, 'added/odd/socket'))
      scope.defer(() => void socket.close())
    })
    after(async () => await scope.disposeAsync())

    /** The layer from `lower` to `upper`, before it was compressed, and its labels. */
    async function compare(
      client: Client,
      [lower, upper]: readonly [string, string],
      options: CompareOptions = {},
    ): Promise<{ readonly tar: Uint8Array; readonly labels: object }> {
      const ctx = client.context()
      const differ = new RemoteDiffer(client.connection)
      const from = bind(join(dir, lower), 'ro')
      const to = upper === 'overlay' ? overlay() : bind(join(dir, upper), 'rw')
      const made = await differ.compare(ctx, from, to, { mediaType: layer, ...options })
      assert.equal(made.mediaType, (options.mediaType ?? layer) || `${layer}+gzip`)
      const blob = await readBlob(ctx, client.content, made.digest, 64 << 20)
      assert.equal(made.size, blob.length)
      const { labels } = await client.content.info(ctx, made.digest)
      return { tar: decompressed(blob, made.mediaType), labels }
    }

    /** A snapshot as overlay has it: changes beside what they are of. */
    const overlay = (): readonly Mount[] => {
      const options = ['workdir=work', 'upperdir=changes', 'lowerdir=lower']
      return [
        {
          type: 'overlay',
          source: 'overlay',
          options: options.map((option) => option.replace('=', `=${dir}/`)),
        },
      ]
    }

    async function bothMake(
      trees: readonly [string, string],
      options: CompareOptions = {},
    ): Promise<Uint8Array> {
      const [expected, actual] = [
        await compare(theirs, trees, options),
        await compare(ours, trees, options),
      ]
      assert.deepEqual(actual.labels, expected.labels)
      const clean = (tar: Uint8Array): Buffer =>
        peer.major === 1 ? withoutWhiteoutTimes(tar) : Buffer.from(tar)
      assert.equal(listing(clean(actual.tar)), listing(clean(expected.tar)))
      assert.ok(clean(actual.tar).equals(clean(expected.tar)), 'other bytes')
      return actual.tar
    }

    void test('of a tree with every kind of file, on nothing', async () => {
      await bothMake(['none', 'added'])
    })

    void test('of what was added to a tree', async () => {
      const made = entriesOf(await bothMake(['lower', 'added']))
      assert.ok(!made.some(({ name }) => name.includes('socket')))
    })

    void test('of what was changed and deleted in a tree', async () => {
      const names = entriesOf(await bothMake(['lower', 'upper'])).map(({ name }) => name)
      assert.ok(names.includes('.wh.gone') && names.includes('d/.wh.g'))
    })

    void test('of a tree that was emptied, and of one that is the same', async () => {
      await bothMake(['lower', 'none'])
      assert.deepEqual(entriesOf(await bothMake(['lower', 'lower'])), [])
    })

    void test('of what an overlay changed and deleted', async () => {
      const changes = join(dir, 'changes')
      for (const path of [changes, join(dir, 'work')]) fs.mkdirSync(path)
      mknodat(AT_FDCWD, join(changes, 'gone'), NodeType.character, 0)
      fs.mkdirSync(join(changes, 'd'))
      fs.writeFileSync(join(changes, 'd/new'), 'new')
      lsetxattr(join(changes, 'd'), 'trusted.overlay.opaque', Buffer.from('y'))
      const names = entriesOf(await bothMake(['lower', 'overlay'])).map(({ name }) => name)
      assert.deepEqual(names, ['d/', 'd/.wh.f', 'd/.wh.g', 'd/new', 'd/.wh.sub', '.wh.gone'])
    })

    void test('with labels, compressed or not', async () => {
      const labels = { 'example.com/a': 'b' }
      for (const mediaType of ['', `${layer}+gzip`, `${layer}+zstd`]) {
        if (peer.major === 1 && mediaType.endsWith('zstd')) continue
        const trees = ['lower', 'added'] as const
        const options = { mediaType, labels }
        const made = [await compare(theirs, trees, options), await compare(ours, trees, options)]
        for (const one of made) {
          assert.deepEqual(one.labels, {
            ...labels,
            'containerd.io/uncompressed': digestOf(one.tar),
          })
        }
        assert.equal(digestOf(made[0]?.tar ?? ''), digestOf(made[1]?.tar ?? ''))
      }
    })

    void test('with an upload of a name', async () => {
      await bothMake(['lower', 'added'], { ref: 'named' })
      await bothMake(['none', 'added'], { ref: 'named' })
    })

    void test('of a type that is none', async () => {
      for (const client of [theirs, ours]) {
        const made = compare(client, ['lower', 'added'], { mediaType: 'text/plain' })
        await assert.rejects(made, {
          code: 'unimplemented',
          message: /unsupported diff media type: text\/plain/,
        })
      }
    })

    const epoch = { skip: peer.major === 1 && '1.6 does not know source_date_epoch' }
    void test('with no time after SOURCE_DATE_EPOCH, the same at any time', epoch, async () => {
      const sourceDateEpoch = new Date(1_500_200_000_750)
      const made = await bothMake(['lower', 'upper'], { sourceDateEpoch })
      const latest = entriesOf(made).reduce((max, { mtime }) => (mtime > max ? mtime : max), 0n)
      assert.equal(latest, 1_500_200_000_000_000_000n)
      fs.utimesSync(join(dir, 'upper/same'), new Date(), new Date())
      assert.equal(
        digestOf(await bothMake(['lower', 'upper'], { sourceDateEpoch })),
        digestOf(made),
      )
    })
  })
}
