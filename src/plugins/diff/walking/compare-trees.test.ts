import assert from 'node:assert/strict'
import {
  chmodSync,
  chownSync,
  lchownSync,
  linkSync,
  lutimesSync,
  mkdirSync,
  mkdtempDisposableSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'

import { parseTar } from '#lib/tar/parser.ts'
import { AT_FDCWD } from '#sys/file.ts'
import { makeDevice, mkfifo, mknodat, NodeType } from '#sys/node.ts'
import { lsetxattr } from '#sys/xattr.ts'
import { root } from '#testing/root.ts'

import { compareTrees } from './compare-trees.ts'

/** A tree with every kind of entry and of name; nothing of it depends on the machine. */
function makeGolden(path: string): void {
  const at = (name: string): string => join(path, name)
  const names = ['plain', 'empty', 'é', 'd/one', `${'long'.repeat(30)}/${'n'.repeat(110)}`]
  for (const name of names) {
    mkdirSync(dirname(at(name)), { recursive: true })
    writeFileSync(at(name), name === 'empty' ? '' : `${name}\n`)
  }
  linkSync(at('plain'), at('second'))
  symlinkSync('t'.repeat(130), at('link'))
  mkfifo(at('fifo'), 0o640)
  mknodat(AT_FDCWD, at('device'), NodeType.block | 0o600, makeDevice(8, 300))
  chownSync(at('é'), 3_000_000, 4_000_000)
  chmodSync(at('plain'), 0o4755)
  lchownSync(at('link'), 5, 6)
  const capability = Buffer.from('0100000200200000000000000000000000000000', 'hex')
  lsetxattr(at('d/one'), 'security.capability', capability)
  const directories = ['d', 'long'.repeat(30)]
  const others = ['second', 'link', 'fifo', 'device']
  for (const name of [...names, ...others, ...directories]) {
    lutimesSync(at(name), 1_600_000_000.75, 1_600_000_000.75)
  }
}

async function compare(
  lower: string,
  upper: string,
  latestTime?: bigint,
): Promise<{ readonly digest: string; readonly tar: Buffer }> {
  const pieces: Uint8Array[] = []
  const { digest } = await compareTrees(lower, upper, {
    compression: 'none',
    latestTime,
    write(piece) {
      pieces.push(piece)
      return Promise.resolve()
    },
    check() {},
  })
  return { digest, tar: Buffer.concat(pieces) }
}

/** `type name -> link` of every entry. */
function listing(tar: Uint8Array): readonly string[] {
  const lines: string[] = []
  parseTar([tar], {
    entry: ({ type, name, linkName }) => {
      lines.push(`${type} ${name}${linkName === '' ? '' : ` -> ${linkName}`}`)
    },
    data() {},
    end() {},
  })
  return lines
}

interface Trees extends Disposable {
  readonly lower: string
  readonly upper: string
}

function trees(): Trees {
  using stack = new DisposableStack()
  const { path } = stack.use(mkdtempDisposableSync(join(tmpdir(), 'wharf-compare-')))
  const [lower, upper] = [join(path, 'lower'), join(path, 'upper')]
  mkdirSync(lower)
  mkdirSync(upper)
  const owned = stack.move()
  return { lower, upper, [Symbol.dispose]: () => owned.dispose() }
}

/** Made by containerd 2.1.9: `ctr snapshots diff` of a snapshot with this tree. */
const goldenDigest = 'sha256:eeeb648e9d3df62e093148786e1da92d35583680571f12adca0c4db7cded3601'

test('a layer has the digest that containerd gives it', async (t) => {
  if (!root(t)) return
  using dirs = trees()
  makeGolden(dirs.upper)
  assert.equal((await compare(dirs.lower, dirs.upper)).digest, goldenDigest)
})

test('what changed is written, with the directories it is in, and what is gone is a whiteout', async (t) => {
  if (!root(t)) return
  using dirs = trees()
  for (const path of [dirs.lower, dirs.upper]) makeGolden(path)
  const at = (name: string): string => join(dirs.upper, name)
  rmSync(at('d'), { recursive: true })
  rmSync(at('link'))
  mkdirSync(at('link'))
  writeFileSync(at('link/in'), '')
  writeFileSync(at(`${'long'.repeat(30)}/more`), '')
  assert.deepEqual(listing((await compare(dirs.lower, dirs.upper)).tar), [
    'file .wh.d',
    'directory link/',
    'file link/in',
    `directory ${'long'.repeat(30)}/`,
    `file ${'long'.repeat(30)}/more`,
  ])
})

test('trees that are the same make an empty layer', async (t) => {
  if (!root(t)) return
  using dirs = trees()
  for (const path of [dirs.lower, dirs.upper]) makeGolden(path)
  const { tar } = await compare(dirs.lower, dirs.upper)
  assert.deepEqual(tar, Buffer.alloc(1024))
})

test('a new name of an unchanged file brings its other names along', async () => {
  using dirs = trees()
  for (const path of [dirs.lower, dirs.upper]) {
    for (const name of ['a', 'b']) mkdirSync(join(path, name))
    writeFileSync(join(path, 'a/f'), 'same')
    linkSync(join(path, 'a/f'), join(path, 'a/g'))
    for (const name of ['a/f', 'a/g', 'a', 'b']) lutimesSync(join(path, name), 1, 1)
  }
  linkSync(join(dirs.upper, 'a/f'), join(dirs.upper, 'b/h'))
  lutimesSync(join(dirs.upper, 'b'), 1, 1)
  assert.deepEqual(listing((await compare(dirs.lower, dirs.upper)).tar), [
    'directory b/',
    'file b/h',
    'directory a/',
    'hardlink a/f -> b/h',
    'hardlink a/g -> b/h',
  ])
})

test('sockets are left out, and times are no later than said', async () => {
  using dirs = trees()
  const server = createServer().listen(join(dirs.upper, 'socket'))
  await once(server, 'listening')
  writeFileSync(join(dirs.upper, 'f'), '')
  const { tar } = await compare(dirs.lower, dirs.upper, 1_000_000_000n)
  server.close()
  const times: bigint[] = []
  parseTar([tar], { entry: ({ mtime }) => times.push(mtime), data() {}, end() {} })
  assert.deepEqual(times, [1_000_000_000n])
})

test('a link that takes the place of a directory meanwhile is not walked into', async () => {
  using dirs = trees()
  mkdirSync(join(dirs.upper, 'd'))
  writeFileSync(join(dirs.upper, 'd/f'), '')
  const swapping = compareTrees(dirs.lower, dirs.upper, {
    compression: 'none',
    write: () => Promise.resolve(),
    check() {
      rmSync(join(dirs.upper, 'd'), { recursive: true, force: true })
      symlinkSync('/etc', join(dirs.upper, 'd'))
    },
  })
  await assert.rejects(swapping, { code: 'ELOOP' })
})
