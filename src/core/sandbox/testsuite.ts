import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'

import type { Any } from '#core/any/any.ts'
import { type Context, withNamespace } from '#core/context.ts'
import { rejectsCancelled, rejectsWith } from '#testing/rejects.ts'

import type { NewSandbox, SandboxStore } from './store.ts'

interface Opened extends AsyncDisposable {
  readonly store: SandboxStore
}

type Open = (ctx: Context, root: string) => Promise<Opened>

interface Given {
  readonly ctx: Context
  readonly store: SandboxStore
  /** Closes the store and opens it again. */
  readonly reopen: () => Promise<SandboxStore>
}

const any = (text: string) => ({ typeUrl: 'a.b/C', value: new Uint8Array(Buffer.from(text)) })

const textOf = (value: Any | undefined): string | undefined =>
  value && Buffer.from(value.value).toString()

const sandboxOf = (id: string, more: Partial<NewSandbox> = {}): NewSandbox => ({
  id,
  runtime: { name: 'io.containerd.runc.v2', options: any('options') },
  spec: any('{}'),
  sandboxer: 'shim',
  labels: {},
  extensions: { ext: any('ext') },
  ...more,
})

/** The behaviour every store of sandboxes owes its callers. */
export function sandboxStoreSuite(
  name: string,
  newContext: (t: TestContext) => Context,
  open: Open,
): void {
  const check = (title: string, body: (given: Given) => Promise<void>): void => {
    void test(title, async (t) => {
      await using dir = await mkdtempDisposable(join(tmpdir(), 'sandboxes-'))
      const ctx = withNamespace(newContext(t), 'default')
      let opened = await open(ctx, dir.path)
      await using last = new AsyncDisposableStack()
      last.defer(async () => await opened[Symbol.asyncDispose]())
      const reopen = async (): Promise<SandboxStore> => {
        await opened[Symbol.asyncDispose]()
        opened = await open(ctx, dir.path)
        return opened.store
      }
      await body({ ctx, store: opened.store, reopen })
    })
  }

  void suite(`${name} sandboxes`, () => {
    checkReading(check)
    checkWriting(check)
  })
}

type Check = (title: string, body: (given: Given) => Promise<void>) => void

function checkReading(check: Check): void {
  check('everything of one is still there after a restart', async ({ ctx, store, reopen }) => {
    const labels = { x: '1', empty: '' }
    const created = await store.create(ctx, sandboxOf('a', { labels }))
    assert.deepEqual(created.labels, { x: '1' })
    assert.ok(Math.abs(created.createdAt.getTime() - Date.now()) < 60_000)
    assert.deepEqual(created.updatedAt, created.createdAt)
    assert.deepEqual(await store.get(ctx, 'a'), created)
    assert.deepEqual(await (await reopen()).get(ctx, 'a'), created)
  })

  check('they are listed, all or by filter', async ({ ctx, store }) => {
    await store.create(ctx, sandboxOf('a', { labels: { 'x.y': '1' } }))
    await store.create(ctx, sandboxOf('b'))
    const ids = async (...filters: string[]): Promise<string[]> =>
      (await store.list(ctx, filters)).map(({ id }) => id)
    assert.deepEqual(await ids(), ['a', 'b'])
    assert.deepEqual(await ids('labels."x.y"==1'), ['a'])
    assert.deepEqual(await ids('id==b', 'id==a'), ['a', 'b'])
    assert.deepEqual(await ids('sandboxer==shim'), [])
    await rejectsWith('invalid_argument', store.list(ctx, ['id==']))
  })

  check('what is not there is not found', async ({ ctx, store }) => {
    await rejectsWith('not_found', store.get(ctx, 'a'))
    await rejectsWith('not_found', store.delete(ctx, 'a'))
    await rejectsWith('not_found', store.update(ctx, sandboxOf('a'), []))
    await store.create(ctx, sandboxOf('b'))
    await rejectsWith('not_found', store.get(ctx, ''))
    await rejectsWith('not_found', store.delete(ctx, 'a'))
    await rejectsWith('not_found', store.update(ctx, sandboxOf('a'), []))
  })

  check('namespaces do not see each other, and one is needed', async ({ ctx, store }) => {
    await store.create(ctx, sandboxOf('a'))
    await rejectsWith('not_found', store.get(withNamespace(ctx, 'other'), 'a'))
    await rejectsWith('failed_precondition', store.get({ ...ctx, namespace: '' }, 'a'))
  })
}

function checkWriting(check: Check): void {
  check('an id is used once, and is an identifier', async ({ ctx, store }) => {
    await store.create(ctx, sandboxOf('a'))
    await rejectsWith('already_exists', store.create(ctx, sandboxOf('a')))
    await rejectsWith('invalid_argument', store.create(ctx, sandboxOf('')))
    await rejectsWith('invalid_argument', store.create(ctx, sandboxOf('a b')))
  })

  check('a field mask changes only what it names', async ({ ctx, store }) => {
    const created = await store.create(ctx, sandboxOf('a', { labels: { x: '1', y: '2' } }))
    const given = sandboxOf('a', { labels: { x: '', z: '3' }, spec: any('new'), sandboxer: 'b' })
    const updated = await store.update(ctx, given, ['labels.x', 'labels.z', 'spec'])
    assert.deepEqual(updated.labels, { y: '2', z: '3' })
    assert.equal(textOf(updated.spec), 'new')
    assert.equal(updated.sandboxer, 'shim')
    assert.deepEqual(updated.createdAt, created.createdAt)
    assert.deepEqual(await store.get(ctx, 'a'), updated)
    await rejectsWith('invalid_argument', store.update(ctx, given, ['sandboxer']))
  })

  check('extensions are added to those that are there', async ({ ctx, store }) => {
    await store.create(ctx, sandboxOf('a'))
    await store.update(ctx, sandboxOf('a', { extensions: { more: any('1') } }), ['extensions.more'])
    await store.update(ctx, sandboxOf('a', { extensions: { most: any('2') } }), ['extensions'])
    const { extensions } = await store.get(ctx, 'a')
    const texts = Object.entries(extensions).map(([key, value]) => `${key} ${textOf(value)}`)
    assert.deepEqual(texts.toSorted(), ['ext ext', 'more 1', 'most 2'])
  })

  check('without a mask all is replaced, but for the runtime', async ({ ctx, store }) => {
    await store.create(ctx, sandboxOf('a', { labels: { x: '1' } }))
    const updated = await store.update(ctx, sandboxOf('a', { spec: any('new') }), [])
    assert.deepEqual([updated.labels, textOf(updated.spec)], [{}, 'new'])
    const other = sandboxOf('a', { runtime: { name: 'other' } })
    await rejectsWith('invalid_argument', store.update(ctx, other, []))
    assert.equal((await store.update(ctx, other, ['runtime'])).runtime.name, 'other')
  })

  check('what is deleted is gone', async ({ ctx, store, reopen }) => {
    await store.create(ctx, sandboxOf('a'))
    await store.delete(ctx, 'a')
    await rejectsWith('not_found', store.get(ctx, 'a'))
    assert.deepEqual(await (await reopen()).list(ctx), [])
  })

  check('a cancelled call does nothing', async ({ ctx, store }) => {
    const cancelled = { ...ctx, signal: AbortSignal.abort() }
    await rejectsCancelled(store.create(cancelled, sandboxOf('a')))
    await rejectsCancelled(store.list(cancelled))
    assert.deepEqual(await store.list(ctx), [])
  })
}
