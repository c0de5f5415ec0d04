import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { chmod, chown, mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { suite, test } from 'node:test'

import { metaSize } from '#lib/bolt/meta.ts'
import { readMetas } from '#lib/bolt/metas.ts'
import { openDatabase, openFile } from '#lib/bolt/open.ts'
import { packageRoot } from '#lib/release/release.ts'
import { tryLock } from '#sys/flock.ts'
import { run, type Ran } from '#testing/daemon.ts'
import { sampleImage, storedIn } from '#testing/damaged-database.ts'
import { afterKill, MemoryFile } from '#testing/memory-file.ts'

const doctor = async (...args: string[]): Promise<Ran> =>
  await run(process.execPath, [join(packageRoot, 'bin/wharf.mjs'), 'doctor', 'db', ...args])

interface Given {
  readonly path: string
  /** A page in use; its pairs are lost in the file. */
  readonly leaf: number
}

/** Runs `body` on a file with a leaf of zeroes in it, or on a sound one. */
async function withFile(damaged: boolean, body: (given: Given) => Promise<void>): Promise<void> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'doctor-db-'))
  const image = await sampleImage(1)
  const [meta] = readMetas(new MemoryFile(image))
  assert.ok(meta)
  const leaf = storedIn(image, meta)[0]?.pages.at(-1) ?? 0
  if (damaged) image.fill(0, leaf * 4096, (leaf + 1) * 4096)
  const path = join(dir.path, 'meta.db')
  writeFileSync(path, image)
  await body({ path, leaf })
}

void suite('wharf doctor db', () => {
  void test('says that a sound file is, and how its pages are used', async () => {
    await withFile(false, async ({ path }) => {
      const { code, stdout, stderr } = await doctor(path)
      assert.deepEqual([code, stderr], [0, ''])
      assert.match(stdout, /^meta page 0: valid, transaction \d+, root at page \d+, \d+ pages$/m)
      assert.match(stdout, /^\d+ buckets with \d+ pairs$/m)
      assert.match(stdout, /\nsound\n$/)
    })
  })

  void test('looks at the commit that is in no meta page yet', async () => {
    await withFile(false, async ({ path }) => {
      const image = readFileSync(path)
      const file = new MemoryFile(Buffer.from(image))
      await using db = await openFile(file, {})
      await db.update((tx) => tx.createBucket('last'))
      const steps = file.steps.filter(
        (step) => step.kind !== 'write' || step.data.length > metaSize,
      )
      writeFileSync(path, afterKill([{ kind: 'write', position: 0, data: image }, ...steps]))
      const { code, stdout } = await doctor(path)
      assert.equal(code, 0)
      const found = [...stdout.matchAll(/^(meta page|record).*: valid, transaction (\d+), root/gm)]
      const [older, newer, record] = found
        .map(([, , txid]) => Number(txid))
        .toSorted((a, b) => a - b)
      assert.deepEqual([older, newer], [Number(record) - 2, Number(record) - 1])
      assert.equal(found.at(-1)?.[1], 'record')
      assert.match(stdout, /\nsound\n$/)
    })
  })

  void test('names the page that is damaged, and what cannot be read for it', async () => {
    await withFile(true, async ({ path, leaf }) => {
      const { code, stdout } = await doctor(path)
      assert.equal(code, 1)
      const line = new RegExp(
        `^damage: page ${leaf} is all zero; cannot be read: .*bucket top-0`,
        'm',
      )
      assert.match(stdout, line)
      assert.match(stdout, /\nDAMAGED\n$/)
      const json: unknown = JSON.parse((await doctor(path, '--json')).stdout)
      assert.partialDeepStrictEqual(json, {
        path,
        sound: false,
        problems: [
          { kind: 'page', severity: 'damage', page: leaf, lost: { bucket: ['top-0', 'bucket-0'] } },
        ],
      })
    })
  })

  void test('writes a new file, and leaves the damaged one as it was', async () => {
    await withFile(true, async ({ path }) => {
      const before = readFileSync(path)
      const out = join(path, '../out.db')
      const { code, stdout } = await doctor(path, '--repair', out)
      assert.equal(code, 1)
      assert.match(stdout, /^(LOST|taken as it was one commit before): .*bucket top-0/m)
      assert.deepEqual(readFileSync(path), before)
      assert.equal((await doctor(out)).code, 0)
      const again = await doctor(path, '--repair', out)
      assert.equal(again.code, 1)
      assert.match(again.stderr, /EEXIST.*out\.db/)
      const inPlace = await doctor(path, '--repair', path)
      assert.match(inPlace.stderr, /EEXIST.*meta\.db/)
      assert.deepEqual(readFileSync(path), before)
    })
  })

  void test('puts a new file in the place of the damaged one, which stays', async (t) => {
    await withFile(true, async ({ path }) => {
      const before = readFileSync(path)
      await chmod(path, 0o640)
      if (process.getuid?.() === 0) await chown(path, 12, 34)
      else t.diagnostic('not root: the owner is not tried')
      const { uid, gid, mode } = statSync(path)
      const { code, stdout } = await doctor(path, '--replace')
      assert.equal(code, 1)
      const [backup] = readdirSync(join(path, '..')).filter((name) => name !== basename(path))
      assert.match(backup ?? '', /^meta\.db\.damaged-\d{8}T\d{6}Z$/)
      assert.ok(stdout.includes(`the damaged file is ${path}.damaged-`))
      assert.deepEqual(readFileSync(join(path, '..', backup ?? '')), before)
      assert.partialDeepStrictEqual(statSync(path), { uid, gid, mode })
      assert.equal((await doctor(path, '--replace')).code, 0)
      assert.equal(readdirSync(join(path, '..')).length, 2)
    })
  })

  void test('a file that a daemon runs on is left alone', async () => {
    await withFile(false, async ({ path }) => {
      await using _daemon = await openDatabase(path, { lock: tryLock })
      for (const args of [[path], [path, '--replace'], [path, '--repair', `${path}.out`]]) {
        const { code, stdout, stderr } = await doctor(...args)
        assert.deepEqual([code, stdout], [1, ''])
        assert.match(stderr, /meta\.db" is in use: stop the daemon that runs on it first/)
      }
      assert.equal(existsSync(`${path}.out`), false)
    })
  })

  void test('a file that is no database gives one sentence, and no file', async () => {
    await withFile(false, async ({ path }) => {
      writeFileSync(path, 'some text')
      const { code, stderr } = await doctor(path, '--replace')
      assert.equal(code, 1)
      assert.match(stderr, /^wharf: database ".*meta\.db": no page of it can be a root/)
      assert.deepEqual(readdirSync(join(path, '..')), ['meta.db'])
      assert.equal((await doctor(path, '--replace', '--repair', 'x')).code, 2)
    })
  })
})
