import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { ActiveMount, MountHandler } from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { mountInfo } from '#sys/mount-info.ts'
import { mountAll, unmountRecursive } from '#sys/mount.ts'
import { newContext } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { root } from '#testing/root.ts'

import { BoltMountManager } from './manager.ts'

/** A handler that mounts nothing, and counts. */
class Counting implements MountHandler {
  points: string[] = []
  fail = false

  async mount(_: Context, mount: Mount, point: string): Promise<ActiveMount> {
    if (this.fail) throw new Error('no such device')
    this.points.push(point)
    return await Promise.resolve({ ...mount, mountedAt: new Date(), mountPoint: point })
  }

  async unmount(_: Context, point: string): Promise<void> {
    this.points = await Promise.resolve(this.points.filter((each) => each !== point))
  }

  isMounted(point: string): boolean {
    return this.points.includes(point)
  }
}

interface Given extends AsyncDisposable {
  readonly ctx: Context
  readonly dir: string
  readonly targets: string
  readonly counting: Counting
  manager: BoltMountManager
  /** Closes the manager and opens it again, as a restart does. */
  reopen(): Promise<void>
}

async function given(t: TestContext): Promise<Given> {
  await using made = new AsyncDisposableStack()
  const dir = made.use(await mkdtempDisposable(join(tmpdir(), 'mounts-'))).path
  made.defer(() => unmountRecursive(dir))
  const ctx = newContext(t)
  const counting = new Counting()
  const targets = join(dir, 't')
  fs.mkdirSync(targets)
  const open = async (): Promise<BoltMountManager> => {
    const db = await openDatabase(join(dir, 'mounts.db'))
    const manager = new BoltMountManager(db, {
      targets,
      handlers: new Map([['counted', counting]]),
      roots: [targets, dir],
      busyMs: 200,
    })
    await manager.recover(ctx)
    return manager
  }
  const held = made.move()
  const it: Given = {
    ctx,
    dir,
    targets,
    counting,
    manager: await open(),
    async reopen() {
      await it.manager[Symbol.asyncDispose]()
      it.manager = await open()
    },
    async [Symbol.asyncDispose]() {
      await it.manager[Symbol.asyncDispose]()
      await held.disposeAsync()
    },
  }
  return it
}

const counted = (source = 's', options: string[] = []): Mount => ({
  type: 'counted',
  source,
  options,
})
const bind = (source: string, ...options: string[]): Mount => ({
  type: 'bind',
  source,
  options: ['rbind', ...options],
})
const below = (dir: string): string[] =>
  mountInfo().flatMap(({ mountPoint }) => (mountPoint.startsWith(`${dir}/`) ? [mountPoint] : []))

void suite('mount manager', () => {
  test('what the kernel can mount as it is, is left to the caller', async (t) => {
    await using g = await given(t)
    for (const mounts of [[], [bind('/a')], [bind('/a'), { ...bind('/b'), type: 'x/overlay' }]]) {
      await rejectsWith('unimplemented', g.manager.activate(g.ctx, 'a', mounts))
      assert.equal(g.manager.handles(mounts), false)
      await using held = await g.manager.hold(g.ctx, mounts)
      assert.deepEqual(held.system, mounts)
    }
    assert.deepEqual(await g.manager.list(g.ctx), [])
    assert.deepEqual(fs.readdirSync(g.targets), [])
  })

  test('mounts with a handler are made up to the last one, in numbered places', async (t) => {
    await using g = await given(t)
    const done = await g.manager.activate(g.ctx, 'a', [counted('1'), counted('2'), bind('/x')])
    const points = [join(g.targets, '1', '2'), join(g.targets, '1', '1')]
    assert.deepEqual(
      done.active.map(({ source, mountPoint }) => [source, mountPoint]),
      [
        ['1', points[0]],
        ['2', points[1]],
      ],
    )
    assert.deepEqual(done.system, [bind('/x')])
    assert.deepEqual(g.counting.points, points)
    assert.deepEqual(await g.manager.info(g.ctx, 'a'), done)
    await g.manager.deactivate(g.ctx, 'a')
    assert.deepEqual(g.counting.points, [])
    assert.deepEqual(fs.readdirSync(g.targets), [])
    await rejectsWith('not_found', g.manager.info(g.ctx, 'a'), 'mount "a": not found')
    await rejectsWith('not_found', g.manager.deactivate(g.ctx, 'a'))
  })

  test('what all of is handled leaves nothing, unless it is for a look', async (t) => {
    await using g = await given(t)
    assert.deepEqual((await g.manager.activate(g.ctx, 'a', [counted()])).system, [])
    const look = await g.manager.activate(g.ctx, 'b', [counted()], { temporary: true })
    assert.deepEqual(look.system, [bind(join(g.targets, '2', '1'))])
    await using held = await g.manager.hold(g.ctx, [counted()])
    assert.equal(held.system[0]?.type, 'bind')
  })

  test('a name is taken once, in each namespace', async (t) => {
    await using g = await given(t)
    await g.manager.activate(g.ctx, 'a', [counted()])
    await rejectsWith('already_exists', g.manager.activate(g.ctx, 'a', [counted()]))
    const other = { ...g.ctx, namespace: 'other' }
    await g.manager.activate(other, 'a', [counted()])
    await rejectsWith('not_found', g.manager.info({ ...g.ctx, namespace: 'third' }, 'a'))
    const many = await Promise.allSettled(
      Array.from({ length: 5 }, async () => await g.manager.activate(g.ctx, 'b', [counted()])),
    )
    assert.equal(many.filter(({ status }) => status === 'fulfilled').length, 1)
    assert.equal(g.counting.points.length, 3)
    await rejectsWith('failed_precondition', g.manager.list({ ...g.ctx, namespace: '' }))
    await rejectsWith('invalid_argument', g.manager.activate(g.ctx, '', [counted()]))
  })

  test('what the caller handles itself is left to it', async (t) => {
    await using g = await given(t)
    const mounts = [counted(), { ...bind('{{ mount 0 }}'), type: 'format/bind' }]
    assert.equal(g.manager.handles(mounts, { allow: ['counted', 'format/*'] }), false)
    assert.equal(g.manager.handles(mounts, { allow: ['counted', 'format/bind'] }), false)
    const allowed = await g.manager.activate(g.ctx, 'a', mounts, { allow: ['format/*'] })
    assert.deepEqual(allowed.system, [bind(join(g.targets, '1', '1'))])
    const formatted = await g.manager.activate(g.ctx, 'b', mounts, { allow: ['counted'] })
    assert.deepEqual(formatted.system, [bind(join(g.targets, '2', '1'))])
  })

  test('labels are kept, changed, and filtered by', async (t) => {
    await using g = await given(t)
    await g.manager.activate(g.ctx, 'a', [counted()], { labels: { x: '1', 'a.b/c': '2' } })
    await g.manager.activate(g.ctx, 'b', [counted()])
    const names = async (...filters: string[]): Promise<string[]> =>
      (await g.manager.list(g.ctx, filters)).map(({ name }) => name)
    assert.deepEqual(await names(), ['a', 'b'])
    assert.deepEqual(await names('labels.x'), ['a'])
    assert.deepEqual(await names('labels."a.b/c"==2', 'name==b'), ['a', 'b'])
    const changed = await g.manager.update(g.ctx, { name: 'a', labels: { x: '3' } }, ['labels.x'])
    assert.deepEqual(changed.labels, { x: '3', 'a.b/c': '2' })
    assert.deepEqual((await g.manager.info(g.ctx, 'a')).labels, changed.labels)
    const wrong = g.manager.update(g.ctx, { name: 'a', labels: {} }, ['system'])
    await rejectsWith('invalid_argument', wrong)
    await rejectsWith('not_found', g.manager.update(g.ctx, { name: 'c', labels: {} }, []))
    await rejectsWith('invalid_argument', names('name=a'))
    const long = g.manager.activate(g.ctx, 'c', [counted()], { labels: { x: 'y'.repeat(4096) } })
    await rejectsWith('invalid_argument', long)
  })

  test('an activation that fails leaves nothing', async (t) => {
    await using g = await given(t)
    const failing = [counted(), { ...counted('{{ mount 5 }}'), type: 'format/counted' }]
    await rejectsWith(
      'invalid_argument',
      g.manager.activate(g.ctx, 'a', failing),
      /out of bounds: 5/,
    )
    await rejectsWith('invalid_argument', g.manager.hold(g.ctx, failing))
    g.counting.fail = true
    await assert.rejects(g.manager.activate(g.ctx, 'a', [counted('dev')]), {
      message: 'mount dev of type counted failed',
    })
    const many = Array.from({ length: 256 }, () => counted())
    await rejectsWith('invalid_argument', g.manager.activate(g.ctx, 'a', many), /too many mounts/)
    assert.deepEqual(g.counting.points, [])
    assert.deepEqual(fs.readdirSync(g.targets), [])
    g.counting.fail = false
    await g.manager.activate(g.ctx, 'a', [counted()])
  })

  test('one that is cancelled leaves nothing', async (t) => {
    await using g = await given(t)
    const stop = new AbortController()
    const handler = g.counting.mount.bind(g.counting)
    g.counting.mount = async (...args) => {
      stop.abort()
      return await handler(...args)
    }
    const ctx = { ...g.ctx, signal: stop.signal }
    await assert.rejects(g.manager.activate(ctx, 'a', [counted(), counted()]), {
      name: 'AbortError',
    })
    assert.deepEqual(g.counting.points, [])
    assert.deepEqual(await g.manager.list(g.ctx), [])
    assert.deepEqual(fs.readdirSync(g.targets), [])
  })

  test('activations survive a restart, and go when their mounts are gone', async (t) => {
    await using g = await given(t)
    const before = await g.manager.activate(g.ctx, 'a', [counted('s', ['x=1', 'y']), bind('/z')])
    await g.manager.activate(g.ctx, 'b', [counted()])
    await g.reopen()
    assert.deepEqual(await g.manager.info(g.ctx, 'a'), before)
    g.counting.points = g.counting.points.filter((point) => !point.includes('/t/2/'))
    await g.reopen()
    assert.deepEqual(
      (await g.manager.list(g.ctx)).map(({ name }) => name),
      ['a'],
    )
    assert.deepEqual(fs.readdirSync(g.targets), ['1'])
  })

  test('directories of many mounts sort as they are to be undone', async (t) => {
    await using g = await given(t)
    const mounts = Array.from({ length: 12 }, () => counted())
    const { active } = await g.manager.activate(g.ctx, 'a', mounts)
    assert.equal(active[0]?.mountPoint, join(g.targets, '1', '12'))
    assert.equal(active[11]?.mountPoint, join(g.targets, '1', '01'))
    await g.manager.deactivate(g.ctx, 'a')
    assert.deepEqual(g.counting.points, [])
  })
})

void suite('mounts of the manager', () => {
  const asRoot = (title: string, body: (g: Given, t: TestContext) => Promise<void>): void =>
    void test(title, async (t) => {
      if (!root(t)) return
      await using g = await given(t)
      await body(g, t)
      await g.reopen()
    })

  asRoot('earlier mounts are named by later ones', async (g) => {
    const [one, two] = ['one', 'two'].map((name) => {
      fs.mkdirSync(join(g.dir, name))
      fs.writeFileSync(join(g.dir, name, name), name)
      return bind(join(g.dir, name), 'ro')
    })
    assert.ok(one && two)
    const overlay = {
      type: 'format/mkdir/overlay',
      source: 'overlay',
      options: [
        `X-containerd.mkdir.path=${g.dir}/upper:0750:1:2`,
        `X-containerd.mkdir.path=${g.dir}/work`,
        'lowerdir={{ overlay 1 0 }}',
        `upperdir=${g.dir}/upper`,
        `workdir=${g.dir}/work`,
      ],
    }
    const { active, system } = await g.manager.activate(g.ctx, 'a', [one, two, overlay])
    const [first, second] = active.map(({ mountPoint }) => mountPoint)
    assert.deepEqual(system, [
      {
        type: 'overlay',
        source: 'overlay',
        options: [
          `lowerdir=${second}:${first}`,
          `upperdir=${g.dir}/upper`,
          `workdir=${g.dir}/work`,
        ],
      },
    ])
    const upper = fs.statSync(join(g.dir, 'upper'))
    assert.deepEqual([upper.mode & 0o777, upper.uid, upper.gid], [0o750, 1, 2])
    assert.equal(fs.statSync(join(g.dir, 'work')).mode & 0o777, 0o700)
    const seen = join(g.dir, 'seen')
    fs.mkdirSync(seen)
    mountAll(system, seen)
    assert.deepEqual(fs.readdirSync(seen).toSorted(), ['one', 'two'])
    // What an overlay stands on it keeps by itself.
    await g.manager.deactivate(g.ctx, 'a')
    assert.deepEqual(below(g.targets), [])
    assert.equal(fs.readFileSync(join(seen, 'one'), 'utf8'), 'one')
  })

  asRoot('a mount in use is kept, with its activation', async (g) => {
    await g.manager.activate(g.ctx, 'a', [bind(g.dir)], { temporary: true })
    const point = join(g.targets, '1', '1')
    const fd = fs.openSync(point, 'r')
    await rejectsWith(
      'failed_precondition',
      g.manager.deactivate(g.ctx, 'a'),
      /\/t\/1\/1 is in use/,
    )
    assert.equal((await g.manager.info(g.ctx, 'a')).name, 'a')
    fs.closeSync(fd)
    await g.manager.deactivate(g.ctx, 'a')
    assert.deepEqual(below(g.targets), [])
  })

  asRoot('what is held is there as long as it is held', async (g) => {
    const mounts = [bind(g.dir, 'ro'), { ...bind('{{ mount 0 }}'), type: 'format/bind' }]
    {
      await using held = await g.manager.hold(g.ctx, mounts)
      assert.deepEqual(below(g.targets), [held.system[0]?.source])
      assert.deepEqual(await g.manager.list(g.ctx), [])
    }
    assert.deepEqual(below(g.targets), [])
    assert.deepEqual(fs.readdirSync(g.targets), [])
  })
})
