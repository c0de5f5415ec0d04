import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'

import { create, toBinary } from '@bufbuild/protobuf'

import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import type { Mount } from '#core/mount/mount.ts'
import { bind, remembered, RememberingHandler } from '#core/mount/testsuite.ts'
import { RuntimeInfoSchema } from '#gen/types/introspection_pb.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { BoltMountManager } from '#plugins/mounts/manager.ts'
import { newContext, recordingLogger } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'

import type { Bundle } from './bundle.ts'
import { activateRootfs, deactivateRootfs } from './rootfs.ts'

/** A shim that says that it makes mounts of these types. */
const programOf = (allow?: string) => ({
  builtin: allow === undefined,
  path: '/shim',
  async info(): Promise<Any> {
    const annotations = { 'containerd.io/runtime-allow-mounts': allow ?? '' }
    const value = toBinary(RuntimeInfoSchema, create(RuntimeInfoSchema, { annotations }))
    return await Promise.resolve({ typeUrl: RuntimeInfoSchema.typeName, value })
  },
})

interface Given {
  readonly ctx: Context
  readonly manager: BoltMountManager
  readonly handler: RememberingHandler
  readonly bundle: Bundle
  readonly logs: readonly string[]
  readonly activate: (rootfs: readonly Mount[], allow?: string) => Promise<readonly Mount[]>
}

async function run(t: TestContext, body: (given: Given) => Promise<void>): Promise<void> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'rootfs-'))
  const targets = join(dir.path, 't')
  mkdirSync(targets)
  const handler = new RememberingHandler()
  const db = await openDatabase(join(dir.path, 'mounts.db'))
  const handlers = new Map([['remembered', handler]])
  await using manager = new BoltMountManager(db, { targets, handlers, roots: [], busyMs: 0 })
  const logs: string[] = []
  const ctx = { ...newContext(t), log: recordingLogger(logs) }
  const bundle = { namespace: 'testing', id: 'task', path: dir.path, mounts: manager }
  const activate = async (rootfs: readonly Mount[], allow?: string) =>
    await activateRootfs(ctx, { bundle, program: programOf(allow) }, rootfs, undefined)
  await body({ ctx, manager, handler, bundle, logs, activate })
}

const check = (title: string, body: (given: Given) => Promise<void>): void =>
  void test(title, async (t) => await run(t, body))

void suite('the root of a task', () => {
  check('is left to the shim when the kernel knows its mounts', async (given) => {
    const { ctx, manager, activate, bundle, logs } = given
    assert.deepEqual(await activate([bind('/a')]), [bind('/a')])
    assert.deepEqual(await manager.list(ctx), [])
    await deactivateRootfs(ctx, bundle)
    assert.deepEqual(logs, [])
  })

  check('is activated under its name for as long as its container is', async (given) => {
    const { ctx, manager, handler, activate, bundle } = given
    const rootfs = [remembered(), { ...bind('{{ mount 0 }}'), type: 'format/bind' }]
    const [point = ''] = [(await activate(rootfs))[0]?.source]
    assert.deepEqual(handler.points, [point])
    const { labels } = await manager.info(ctx, 'task')
    assert.deepEqual(labels, { 'containerd.io/gc.bref.container': 'task' })
    await deactivateRootfs({ ...ctx, signal: AbortSignal.abort() }, bundle)
    assert.deepEqual(handler.points, [])
  })

  check('is a bind mount when all of it is activated', async ({ handler, activate }) => {
    const left = await activate([remembered()])
    assert.deepEqual(left, [bind(handler.points[0] ?? '')])
  })

  check('is left to a shim that makes such mounts itself', async ({ ctx, manager, activate }) => {
    assert.deepEqual(await activate([remembered()], 'loop,remembered'), [remembered()])
    assert.deepEqual(await manager.list(ctx), [])
    assert.equal((await activate([remembered()], 'loop'))[0]?.type, 'bind')
  })

  check('of one whose predecessor is still mounted is the same', async ({ handler, activate }) => {
    const rootfs = [remembered(), bind('/a')]
    assert.deepEqual(await activate(rootfs), [bind('/a')])
    assert.deepEqual(await activate(rootfs), [bind('/a')])
    assert.equal(handler.points.length, 1)
  })

  check('that cannot be mounted is an error, and that cannot be undone is said', async (given) => {
    const { ctx, handler, activate, bundle, logs } = given
    const wrong = { ...remembered('{{ mount 9 }}'), type: 'format/remembered' }
    await rejectsWith('invalid_argument', activate([wrong]))
    await activate([remembered()])
    handler.unmount = async () => await Promise.reject(new Error('stuck'))
    await deactivateRootfs(ctx, bundle)
    assert.match(logs.join(), /error failed to deactivate mounts .*stuck/)
  })
})
