import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { MountHandler } from '#core/mount/manager.ts'
import { bind, mountManagerSuite, remembered, RememberingHandler } from '#core/mount/testsuite.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { mountInfo } from '#sys/mount-info.ts'
import { mountAll, unmountRecursive } from '#sys/mount.ts'
import { newContext } from '#testing/context.ts'
import { mountHandlers } from '#testing/mounts.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { root } from '#testing/root.ts'

import { BoltMountManager } from './manager.ts'

mountManagerSuite('bolt', newContext, async (ctx, { dir, targets, handler }) => {
  const manager = new BoltMountManager(await openDatabase(join(dir, 'mounts.db')), {
    targets,
    handlers: new Map([['remembered', handler]]),
    roots: [dir],
    busyMs: 200,
  })
  await manager.collector.recover(ctx)
  return manager
})

interface Given extends AsyncDisposable {
  readonly ctx: Context
  readonly dir: string
  readonly targets: string
  readonly handler: RememberingHandler
  manager: BoltMountManager
  /** Closes the manager and opens it again, as a restart does. */
  reopen(): Promise<void>
}

async function given(t: TestContext): Promise<Given> {
  await using made = new AsyncDisposableStack()
  const dir = made.use(await mkdtempDisposable(join(tmpdir(), 'mounts-'))).path
  made.defer(() => unmountRecursive(dir))
  const ctx = newContext(t)
  const handler = new RememberingHandler()
  const targets = join(dir, 't')
  fs.mkdirSync(targets)
  const open = async (): Promise<BoltMountManager> => {
    const db = await openDatabase(join(dir, 'mounts.db'))
    const manager = new BoltMountManager(db, {
      targets,
      handlers: new Map<string, MountHandler>([...mountHandlers, ['remembered', handler]]),
      roots: [targets, dir],
      busyMs: 200,
    })
    await manager.collector.recover(ctx)
    return manager
  }
  const held = made.move()
  const it: Given = {
    ctx,
    dir,
    targets,
    handler,
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

  test('what all of is handled leaves nothing, unless it is for a look', async (t) => {
    await using g = await given(t)
    assert.deepEqual((await g.manager.activate(g.ctx, 'a', [remembered()])).system, [])
    const look = await g.manager.activate(g.ctx, 'b', [remembered()], { temporary: true })
    assert.deepEqual(look.system, [bind(join(g.targets, '2', '1'))])
    await using held = await g.manager.hold(g.ctx, [remembered()])
    assert.equal(held.system[0]?.type, 'bind')
  })

  test('what the caller handles itself is left to it', async (t) => {
    await using g = await given(t)
    const mounts = [remembered(), { ...bind('{{ mount 0 }}'), type: 'format/bind' }]
    assert.equal(g.manager.handles(mounts, { allow: ['remembered', 'format/*'] }), false)
    assert.equal(g.manager.handles(mounts, { allow: ['remembered', 'format/bind'] }), false)
    const allowed = await g.manager.activate(g.ctx, 'a', mounts, { allow: ['format/*'] })
    assert.deepEqual(allowed.system, [bind(join(g.targets, '1', '1'))])
    const formatted = await g.manager.activate(g.ctx, 'b', mounts, { allow: ['remembered'] })
    assert.deepEqual(formatted.system, [bind(join(g.targets, '2', '1'))])
  })

  test('directories of many mounts sort as they are to be undone', async (t) => {
    await using g = await given(t)
    const mounts = Array.from({ length: 12 }, () => remembered())
    const { active } = await g.manager.activate(g.ctx, 'a', mounts)
    assert.equal(active[0]?.mountPoint, join(g.targets, '1', '12'))
    assert.equal(active[11]?.mountPoint, join(g.targets, '1', '01'))
    await g.manager.deactivate(g.ctx, 'a')
    assert.deepEqual(g.handler.points, [])
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
