import assert from 'node:assert/strict'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'

import type { Context } from '#core/context.ts'
import { rejectsCancelled, rejectsWith } from '#testing/rejects.ts'

import type { ActiveMount, MountHandler, MountManager } from './manager.ts'
import type { Mount } from './mount.ts'

/** A handler that mounts nothing, and remembers where. */
export class RememberingHandler implements MountHandler {
  points: readonly string[] = []
  /** What the next mounts fail with. */
  failure: Error | undefined
  /** What comes before a mount. */
  before: (ctx: Context) => Promise<void> = async () => await Promise.resolve()

  async mount(ctx: Context, mount: Mount, point: string): Promise<ActiveMount> {
    await this.before(ctx)
    if (this.failure) throw this.failure
    this.points = [...this.points, point]
    return { ...mount, mountedAt: new Date(), mountPoint: point }
  }

  async unmount(_: Context, point: string): Promise<void> {
    this.points = await Promise.resolve(this.points.filter((each) => each !== point))
  }

  isMounted(point: string): boolean {
    return this.points.includes(point)
  }
}

/** How to open a manager that knows the type `remembered`, with its mounts below `targets`. */
type Open = (
  ctx: Context,
  options: {
    /** For whatever else it keeps. */
    readonly dir: string
    readonly targets: string
    readonly handler: MountHandler
  },
) => Promise<MountManager>

export interface GivenManager {
  readonly ctx: Context
  readonly targets: string
  readonly handler: RememberingHandler
  readonly manager: MountManager
  /** Closes the manager and opens it again. */
  readonly reopen: () => Promise<MountManager>
}

type Check = (title: string, body: (given: GivenManager) => Promise<void>) => void

/** A mount that the handler of the suite makes. */
export const remembered = (source = 's', options: readonly string[] = []): Mount => ({
  type: 'remembered',
  source,
  options,
})
export const bind = (source: string, ...options: readonly string[]): Mount => ({
  type: 'bind',
  source,
  options: ['rbind', ...options],
})

/** The behaviour every mount manager owes its callers. */
export function mountManagerSuite(
  name: string,
  newContext: (t: TestContext) => Context,
  open: Open,
): void {
  const check: Check = (title, body) =>
    void test(title, async (t) => {
      await using dir = await mkdtempDisposable(join(tmpdir(), `mounts-${name}-`))
      const ctx = newContext(t)
      const handler = new RememberingHandler()
      const targets = join(dir.path, 't')
      fs.mkdirSync(targets)
      const options = { dir: dir.path, targets, handler }
      let manager = await open(ctx, options)
      await using last = new AsyncDisposableStack()
      last.defer(async () => await manager[Symbol.asyncDispose]())
      const reopen = async (): Promise<MountManager> => {
        await manager[Symbol.asyncDispose]()
        manager = await open(ctx, options)
        return manager
      }
      await body({ ctx, targets, handler, manager, reopen })
    })

  void suite(`${name} mount manager`, () => {
    checkActivation(check)
    checkRecords(check)
    checkFailures(check)
  })
}

function checkActivation(check: Check): void {
  check(
    'what can be mounted as it is, is left to the caller',
    async ({ ctx, manager, targets }) => {
      for (const mounts of [[], [bind('/a')], [bind('/a'), { ...bind('/b'), type: 'x/overlay' }]]) {
        await rejectsWith('unimplemented', manager.activate(ctx, 'a', mounts))
      }
      assert.deepEqual(await manager.list(ctx), [])
      assert.deepEqual(fs.readdirSync(targets), [])
    },
  )

  check('mounts are made up to the last that has a handler', async (given) => {
    const { ctx, manager, targets, handler } = given
    const mounts = [remembered('1'), remembered('2'), bind('/x')]
    const done = await manager.activate(ctx, 'a', mounts)
    const points = [join(targets, '1', '2'), join(targets, '1', '1')]
    assert.deepEqual(
      done.active.map(({ source, mountPoint }) => [source, mountPoint]),
      points.map((point, at) => [String(at + 1), point]),
    )
    assert.deepEqual(done.system, [bind('/x')])
    assert.deepEqual(handler.points, points)
    assert.deepEqual(await manager.info(ctx, 'a'), done)
    await manager.deactivate(ctx, 'a')
    assert.deepEqual(handler.points, [])
    assert.deepEqual(fs.readdirSync(targets), [])
    await rejectsWith('not_found', manager.info(ctx, 'a'), 'mount "a": not found')
    await rejectsWith('not_found', manager.deactivate(ctx, 'a'))
  })

  check('a list that is handled whole leaves nothing, unless for a look', async (given) => {
    const { ctx, manager, targets } = given
    assert.deepEqual((await manager.activate(ctx, 'a', [remembered()])).system, [])
    const look = await manager.activate(ctx, 'b', [remembered()], { temporary: true })
    assert.deepEqual(look.system, [bind(join(targets, '2', '1'))])
  })

  check('a template names earlier mounts, also where it is left to the caller', async (given) => {
    const { ctx, manager, targets } = given
    const mounts = [
      remembered('one'),
      { ...remembered('{{ source 0 }}', ['at={{ mount 0 }}']), type: 'format/remembered' },
      { type: 'format/overlay', source: 'overlay', options: ['lowerdir={{ overlay 1 0 }}', 'x'] },
      bind('{{ mount 0 }}'),
    ]
    const { active, system } = await manager.activate(ctx, 'a', mounts)
    const [first, second] = [join(targets, '1', '2'), join(targets, '1', '1')]
    assert.deepEqual([active[1]?.type, active[1]?.source], ['remembered', 'one'])
    assert.deepEqual(active[1]?.options, [`at=${first}`])
    assert.deepEqual(system, [
      { type: 'overlay', source: 'overlay', options: [`lowerdir=${second}:${first}`, 'x'] },
      bind('{{ mount 0 }}'),
    ])
  })
}

function checkRecords(check: Check): void {
  check('a name is taken once in each namespace', async ({ ctx, manager, handler }) => {
    await manager.activate(ctx, 'a', [remembered()])
    await rejectsWith('already_exists', manager.activate(ctx, 'a', [remembered()]))
    await manager.activate({ ...ctx, namespace: 'other' }, 'a', [remembered()])
    await rejectsWith('not_found', manager.info({ ...ctx, namespace: 'third' }, 'a'))
    const many = await Promise.allSettled(
      Array.from({ length: 5 }, async () => await manager.activate(ctx, 'b', [remembered()])),
    )
    assert.equal(many.filter(({ status }) => status === 'fulfilled').length, 1)
    assert.equal(handler.points.length, 3)
  })

  check('a namespace and a name are needed', async ({ ctx, manager }) => {
    const nowhere = { ...ctx, namespace: '' }
    await rejectsWith('failed_precondition', manager.list(nowhere))
    await rejectsWith('failed_precondition', manager.activate(nowhere, 'a', [remembered()]))
    await rejectsWith('invalid_argument', manager.activate(ctx, '', [remembered()]))
  })

  check('labels are kept, changed, and filtered by', async ({ ctx, manager }) => {
    await manager.activate(ctx, 'a', [remembered()], { labels: { x: '1', 'a.b/c': '2' } })
    await manager.activate(ctx, 'b', [remembered()])
    const names = async (...filters: string[]): Promise<string[]> =>
      (await manager.list(ctx, filters)).map(({ name }) => name)
    assert.deepEqual(await names(), ['a', 'b'])
    assert.deepEqual(await names('labels.x'), ['a'])
    assert.deepEqual(await names('labels."a.b/c"==2', 'name==b'), ['a', 'b'])
    const changed = await manager.update(ctx, { name: 'a', labels: { x: '3' } }, ['labels.x'])
    assert.deepEqual(changed.labels, { x: '3', 'a.b/c': '2' })
    assert.deepEqual(await manager.info(ctx, 'a'), changed)
    const wrong = manager.update(ctx, { name: 'a', labels: {} }, ['system'])
    await rejectsWith('invalid_argument', wrong)
    await rejectsWith('not_found', manager.update(ctx, { name: 'c', labels: {} }, []))
    await rejectsWith('invalid_argument', names('name=a'))
    const long = { labels: { x: 'y'.repeat(4096) } }
    await rejectsWith('invalid_argument', manager.activate(ctx, 'c', [remembered()], long))
  })

  check('activations survive a restart, and go when their mounts are gone', async (given) => {
    const { ctx, manager, handler, targets, reopen } = given
    const mounts = [{ ...remembered('s', ['x=1', 'y']), target: 'in' }, bind('/z')]
    const before = await manager.activate(ctx, 'a', mounts)
    await manager.activate(ctx, 'b', [remembered()])
    assert.deepEqual(await (await reopen()).info(ctx, 'a'), before)
    handler.points = handler.points.filter((point) => !point.includes('/t/2/'))
    const left = await (await reopen()).list(ctx)
    assert.deepEqual(
      left.map(({ name }) => name),
      ['a'],
    )
    assert.deepEqual(fs.readdirSync(targets), ['1'])
  })
}

function checkFailures(check: Check): void {
  check('an activation that fails leaves nothing', async ({ ctx, manager, handler, targets }) => {
    const failing = [remembered(), { ...remembered('{{ mount 5 }}'), type: 'format/remembered' }]
    const wrong = manager.activate(ctx, 'a', failing)
    await rejectsWith('invalid_argument', wrong, /index out of bounds: 5, has 1 active mounts/)
    handler.failure = new Error('no such device')
    await assert.rejects(
      manager.activate(ctx, 'a', [remembered('dev')]),
      /mount dev of type remembered/,
    )
    const many = Array.from({ length: 256 }, () => remembered())
    await rejectsWith('invalid_argument', manager.activate(ctx, 'a', many), /too many mounts/)
    assert.deepEqual(handler.points, [])
    assert.deepEqual(fs.readdirSync(targets), [])
    handler.failure = undefined
    await manager.activate(ctx, 'a', [remembered()])
  })

  check('one that is cancelled leaves nothing', async ({ ctx, manager, handler, targets }) => {
    const stop = new AbortController()
    const { before } = handler
    handler.before = async ({ signal }) => {
      stop.abort()
      if (!signal.aborted) await once(signal, 'abort')
    }
    const cancelled = { ...ctx, signal: stop.signal }
    await rejectsCancelled(manager.activate(cancelled, 'a', [remembered(), remembered()]))
    handler.before = before
    // Behind a connection the other side may still be undoing it, which keeps the name.
    await manager.activate(ctx, 'a', [remembered()])
    await manager.deactivate(ctx, 'a')
    assert.deepEqual(handler.points, [])
    assert.deepEqual(await manager.list(ctx), [])
    assert.deepEqual(fs.readdirSync(targets), [])
  })

  check('closing twice is closing once', async ({ manager }) => {
    await manager[Symbol.asyncDispose]()
    await manager[Symbol.asyncDispose]()
  })
}
