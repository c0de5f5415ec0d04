import assert from 'node:assert/strict'
import { existsSync, writeFileSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Differ } from '#core/diff/diff.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { LeaseManager, Resource } from '#core/leases/leases.ts'
import type { Mount } from '#core/mount/mount.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { OverlaySnapshotter } from '#plugins/snapshots/overlay/overlay.ts'
import { newContext } from '#testing/context.ts'
import { root } from '#testing/root.ts'

import { ApplyOnce } from './once.ts'

const layer: Descriptor = {
  mediaType: 'application/vnd.oci.image.layer.v1.tar',
  digest: digestOf('layer'),
  size: 5,
}

/** A differ that is told when to be done. */
class Told implements Differ {
  readonly asked: { readonly mounts: readonly Mount[]; readonly done: (err?: Error) => void }[] = []

  async apply(_: Context, asked: Descriptor, mounts: readonly Mount[]): Promise<Descriptor> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.asked.push({ mounts, done: (err) => (err ? reject(err) : resolve()) })
    await promise
    writeFileSync(join(mounts[0]?.source ?? '', 'file'), 'x')
    return asked
  }

  compare(): Promise<Descriptor> {
    throw new Error('not asked for')
  }
}

interface Given {
  readonly ctx: Context
  readonly sn: Snapshotter
  readonly told: Told
  readonly once: ApplyOnce
  readonly held: readonly Resource[]
}

async function given(t: TestContext, body: (given: Given) => Promise<void>): Promise<void> {
  if (!root(t)) return
  await using dir = await mkdtempDisposable(join(tmpdir(), 'once-'))
  const ctx = { ...newContext(t), lease: 'lease' }
  const options = { asyncRemove: true, upperdirLabel: false, mountOptions: [] }
  await using sn = await OverlaySnapshotter.open(ctx, dir.path, options)
  const told = new Told()
  const held: Resource[] = []
  const leases: Pick<LeaseManager, 'addResource'> = {
    addResource: async (_ctx, _id, resource) => void held.push(await Promise.resolve(resource)),
  }
  const once = new ApplyOnce(told, { snapshotters: new Map([['overlayfs', sn]]), leases })
  await body({ ctx, sn, told, once, held })
}

const directoryOf = ([mount]: readonly Mount[]): string => mount?.source ?? ''

test('who comes second is answered when the first has committed, and cannot commit', async (t) => {
  await given(t, async ({ ctx, sn, told, once, held }) => {
    const keys = ['extract-748512384-YKqh top', 'extract-27-b-9_ top'] as const
    const [a, b] = [await sn.prepare(ctx, keys[0], ''), await sn.prepare(ctx, keys[1], '')]
    const applied = [once.apply(ctx, layer, a), once.apply(ctx, layer, b)]
    told.asked[0]?.done()
    assert.deepEqual(await applied[0], layer)
    await sn.commit(ctx, 'top', keys[0])
    assert.deepEqual(await applied[1], layer)
    assert.equal(told.asked.length, 1)
    assert.deepEqual(held, [{ type: 'snapshots/overlayfs', id: 'top' }])
    assert.ok(!existsSync(directoryOf(b)))
    await assert.rejects(sn.commit(ctx, 'other', keys[1]), { code: 'ENOENT' })
    await assert.rejects(sn.commit(ctx, 'top', keys[1]))
    await sn.remove(ctx, keys[1])
    // Also who comes when all is done.
    const late = await sn.prepare(ctx, 'extract-3-abcd top', '')
    assert.deepEqual(await once.apply(ctx, layer, late), layer)
    assert.equal(told.asked.length, 1)
  })
})

test('when the first fails or gives up, the second does it', async (t) => {
  await given(t, async ({ ctx, sn, told, once }) => {
    const [a, b, c] = [
      await sn.prepare(ctx, 'extract-1-abcd top', ''),
      await sn.prepare(ctx, 'extract-2-abcd top', ''),
      await sn.prepare(ctx, 'extract-3-abcd top', ''),
    ]
    const applied = [a, b, c].map(async (mounts) => await once.apply(ctx, layer, mounts))
    told.asked[0]?.done(new Error('full disk'))
    await assert.rejects(applied[0] ?? Promise.resolve(), /full disk/)
    while (told.asked.length < 2) await new Promise(setImmediate)
    told.asked[1]?.done()
    await Promise.race(applied.slice(1))
    const second = directoryOf(told.asked[1]?.mounts ?? []) === directoryOf(b) ? 2 : 3
    await sn.remove(ctx, `extract-${second}-abcd top`)
    while (told.asked.length < 3) await new Promise((resolve) => setTimeout(resolve, 5))
    told.asked[2]?.done()
    assert.deepEqual(await Promise.all(applied.slice(1)), [layer, layer])
    const third = told.asked[2]?.mounts ?? []
    assert.ok(existsSync(join(directoryOf(third), 'file')))
    await sn.commit(ctx, 'top', `extract-${5 - second}-abcd top`)
  })
})

test('one layer in several places is unpacked in each, and another blob by itself', async (t) => {
  await given(t, async ({ ctx, sn, told, once }) => {
    const keys = ['extract-1-abcd top', 'extract-2-abcd other', 'active', 'extract-3']
    const all: Promise<Descriptor>[] = []
    for (const key of keys) all.push(once.apply(ctx, layer, await sn.prepare(ctx, key, '')))
    all.push(
      once.apply(
        { ...ctx, namespace: 'other' },
        layer,
        await sn.prepare(ctx, 'extract-4-abcd top', ''),
      ),
    )
    const other = { ...layer, digest: `sha256:${'b'.repeat(64)}` }
    all.push(once.apply(ctx, other, await sn.prepare(ctx, 'extract-5-abcd top', '')))
    while (told.asked.length < all.length) await new Promise(setImmediate)
    for (const { done } of told.asked) done()
    assert.equal((await Promise.all(all)).length, 6)
  })
})

test('who commits under a name of its own, as BuildKit does, is not answered for another', async (t) => {
  await given(t, async ({ ctx, sn, told, once }) => {
    const keys = ['extract-1-abcd top', 'extract-y0fz3k9q4wmhv1s7c2b8nd5ta top'] as const
    const first = once.apply(ctx, layer, await sn.prepare(ctx, keys[0], ''))
    told.asked[0]?.done()
    await first
    await sn.commit(ctx, 'top', keys[0])
    const second = once.apply(ctx, layer, await sn.prepare(ctx, keys[1], ''))
    const answered = second.then(() => true)
    const unanswered = async (): Promise<boolean> =>
      await new Promise((resolve) => setImmediate(resolve, false))
    while (told.asked.length < 2) if (await Promise.race([answered, unanswered()])) break
    told.asked[1]?.done()
    assert.deepEqual(await second, layer)
    await sn.commit(ctx, 'buildkit-layer-snapshot-v1-top', keys[1])
  })
})

test('who waits can be cancelled', async (t) => {
  await given(t, async ({ ctx, sn, told, once }) => {
    const [a, b] = [
      await sn.prepare(ctx, 'extract-1-abcd top', ''),
      await sn.prepare(ctx, 'extract-2-abcd top', ''),
    ]
    const first = once.apply(ctx, layer, a)
    const stop = new AbortController()
    const second = once.apply({ ...ctx, signal: stop.signal }, layer, b)
    stop.abort(new Error('enough'))
    await assert.rejects(second, /enough/)
    told.asked[0]?.done()
    assert.deepEqual(await first, layer)
    assert.ok(existsSync(directoryOf(b)))
  })
})
