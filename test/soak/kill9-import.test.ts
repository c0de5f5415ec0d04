import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { containerd1 } from '#testing/containerd.ts'
import { busyboxLayer, type ImageSource, type LayerFile } from '#testing/image.ts'
import { random } from '#testing/random.ts'
import { root } from '#testing/root.ts'
import { type Cycle, soak, soakMs } from '#testing/soak.ts'

import { deleteAll } from './delete-all.ts'
import { assertNothingLeft } from './leaks.ts'
import { World } from './world.ts'

const name = 'docker.io/library/large:1'
/** Files of the data layers, and how many times 6 bytes the largest has. */
const [layers, files, largest] = [4, 250, 8000] as const
const settleMs = 60_000

void suite('a daemon that is killed while an image comes in', () => {
  const skip = containerd1() ? false : 'needs ctr'
  void test('has it whole after another import', { skip, timeout: soakMs(240_000) }, async (t) => {
    if (!root(t)) return
    await using world = await World.open('import')
    const source = imageOf(random(7))
    const archive = await world.archive(source)
    const sum = sumOf(source)
    try {
      await soak('kill9-import', 1, async (cycle) => {
        for (let kills = 1 + cycle.below(3); kills > 0; kills--) await cut(world, archive, cycle)
        await importWhole(world, archive, cycle)
        await assertWhole(world, sum)
        await removeEverything(world)
        cycle.count('images compared')
      })
    } catch (err) {
      t.diagnostic(await world.describe())
      throw err
    }
  })
})

/** Kills the daemon somewhere in an import. */
async function cut(world: World, archive: string, cycle: Cycle): Promise<void> {
  const importing = Array.from({ length: 1 + cycle.below(2) }, () =>
    world.startCtr('image', 'import', archive),
  )
  await sleep(cycle.below(2500))
  await world.kill()
  // Its lease and its uploads stay then; one that can still tidy up takes them with it.
  if (cycle.below(3) === 0) {
    for (const { process } of importing)
      cycle.count('killed client', Number(process.kill('SIGKILL')))
  }
  await world.restart()
  cycle.count('killed daemon')
  // One that was about to open an upload tries again and again until the daemon is back.
  for (const { ended } of importing) {
    const { code } = await ended
    cycle.count(code === 0 ? 'imports that went on' : 'imports cut')
  }
  if (cycle.below(3) === 0) await abortUploads(world, cycle)
}

/** Throws the uploads away that were cut off. */
async function abortUploads({ client }: World, cycle: Cycle): Promise<void> {
  const ctx = client.context({ signal: AbortSignal.timeout(settleMs) })
  for (const { ref } of await client.content.listStatuses(ctx)) {
    await client.content.abort(ctx, ref)
    cycle.count('uploads removed')
  }
}

async function importWhole(world: World, archive: string, cycle: Cycle): Promise<void> {
  const { client } = world
  const ctx = client.context({ signal: AbortSignal.timeout(settleMs) })
  cycle.count('uploads resumed', (await client.content.listStatuses(ctx)).length)
  const imported = await world.ctr('image', 'import', archive)
  assert.equal(imported.code, 0, imported.stderr)
  assert.deepEqual(await client.content.listStatuses(ctx), [])
}

async function assertWhole(world: World, sum: string): Promise<void> {
  const checked = await world.ctr('image', 'check')
  assert.match(checked.stdout, new RegExp(`${name} .* complete \\(${layers + 1 + 1}/`))
  const script =
    'cd /data && busybox find . -type f | busybox sort | busybox xargs busybox sha256sum'
  const run = ['run', '--rm', '--fifo-dir', world.fifos.ctr, name, 'sums', 'sh', '-c', script]
  const ran = await world.ctr(...run)
  assert.equal(ran.code, 0, ran.stderr)
  assert.equal(createHash('sha256').update(ran.stdout).digest('hex'), sum, ran.stdout.slice(0, 500))
  await assertNothingLeft(world)
}

/** Removes the image and what killed clients hold; then nothing of it may be on disk. */
async function removeEverything(world: World): Promise<void> {
  await deleteAll(world)
  const removed = await world.ctr('image', 'rm', '--sync', name)
  assert.equal(removed.code, 0, removed.stderr)
  const deadline = Date.now() + settleMs
  for (;;) {
    const left = filesLeft(world)
    if (left.length === 0) return
    if (Date.now() > deadline) throw new Error(`not collected:\n  ${left.join('\n  ')}`)
    await sleep(50)
  }
}

const filesLeft = ({ daemon }: World): string[] =>
  [
    'io.containerd.content.v1.content/blobs/sha256',
    'io.containerd.content.v1.content/ingest',
    'io.containerd.snapshotter.v1.overlayfs/snapshots',
  ].flatMap((dir) => readdirSync(join(daemon.root, dir)).map((entry) => join(dir, entry)))

function imageOf(below: (limit: number) => number): ImageSource {
  const data = Array.from({ length: layers }, (_, layer) => {
    const entries = Array.from({ length: files }, (__, n): [string, LayerFile] => [
      `data/${layer}/${n}`,
      // Hard to compress, as most of what images hold.
      Array.from({ length: below(largest) }, () => below(1e9).toString(36)).join(''),
    ])
    return Object.fromEntries(entries)
  })
  return { name, layers: [busyboxLayer, ...data], gzip: true, cmd: ['sh'], env: ['PATH=/bin'] }
}

/** Of what `sha256sum` must say of the files below `data`. */
function sumOf({ layers: all }: ImageSource): string {
  const lines = all.slice(1).flatMap((layer) =>
    Object.entries(layer).map(([path, content]) => {
      const hash = createHash('sha256').update(textOf(content)).digest('hex')
      return { path: path.replace('data/', './'), hash }
    }),
  )
  const sorted = lines.toSorted((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)))
  const text = sorted.map(({ path, hash }) => `${hash}  ${path}\n`).join('')
  return createHash('sha256').update(text).digest('hex')
}

function textOf(content: LayerFile): string {
  assert.ok(typeof content === 'string')
  return content
}
