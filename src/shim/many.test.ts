import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'

import { create, toBinary } from '@bufbuild/protobuf'

import { OptionsSchema } from '#gen/types/runc-options_pb.ts'
import { cgroupMounts } from '#sys/cgroup.ts'
import { mountInfo } from '#sys/mount-info.ts'
import { handlesOf } from '#testing/handles.ts'
import { root } from '#testing/root.ts'

import { ShimFixture, type TaskClient, execSpec, readFifo } from './test-host.ts'

const check = (title: string, body: (shim: ShimFixture) => Promise<void>): void => {
  test(title, { timeout: 300_000 }, async (t: TestContext) => {
    if (!root(t)) return
    await using shim = await ShimFixture.open()
    await body(shim)
  })
}

/** Runs one container with streams of a kind that `n` says, and an exec, to its deletion. */
async function runOne(shim: ShimFixture, tasks: TaskClient, n: number): Promise<void> {
  const id = `c${n}`
  const terminal = n % 4 === 2
  const bundle = await shim.bundle(id, ['sh', '-c', 'echo out; read line'], { terminal })
  const [stdin, fifo] = [await shim.fifo(`in${n}`), await shim.fifo(`out${n}`)]
  const logged = n % 4 === 1
  const stdout = logged ? `json-file://${shim.dir}/log${n}` : fifo
  const output = logged ? Promise.resolve('out\n') : readFifo(fifo)
  await tasks.create({ ...bundle.request, stdin, stdout, terminal })
  await tasks.start({ id })
  const spec = execSpec('true')
  await tasks.exec({ id, execId: 'x', spec })
  await tasks.start({ id, execId: 'x' })
  await tasks.wait({ id, execId: 'x' })
  await tasks.delete({ id, execId: 'x' })
  writeFileSync(stdin, 'line\n')
  assert.equal((await tasks.wait({ id })).exitStatus, 0)
  await tasks.delete({ id })
  assert.match(await output, /^out\r?\n/)
}

/** Runs containers `from` to `to`, so many at a time. */
async function runMany(shim: ShimFixture, tasks: TaskClient, from: number, to: number) {
  const numbers = Iterator.from({ next: () => ({ value: from++, done: from > to }) })
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (const n of numbers) await runOne(shim, tasks, n)
    }),
  )
}

suite('many containers in one host', () => {
  check('after 200 runs nothing of them is left', async (shim) => {
    const tasks = await shim.connect(await shim.bundle('first', ['true']))
    const { shimPid } = await tasks.connect({ id: '' })
    await runMany(shim, tasks, 0, 8)
    // What the first runs loaded stays.
    await shim.until(() => shim.childrenOf(shimPid).length === 0)
    const before = handlesOf(shimPid)
    await runMany(shim, tasks, 8, 208)
    await shim.until(() => shim.childrenOf(shimPid).length === 0)
    await shim.until(() => handlesOf(shimPid).length <= before.length)
    assert.deepEqual(
      mountInfo().filter(({ mountPoint }) => mountPoint.startsWith(shim.dir)),
      [],
    )
    assert.deepEqual(readdirSync(join(shim.dir, 'runc', shim.namespace)), [])
    for (const { mountPoint } of cgroupMounts()) {
      assert.ok(!existsSync(join(mountPoint, `${shim.namespace}-c100`)), mountPoint)
    }
  })

  check('runtimes that hang delay no other container', async (shim) => {
    const runtime = join(shim.dir, 'runtime')
    const hang = 'while :; do sleep 0.1; done'
    writeFileSync(
      runtime,
      `#!/bin/sh\ncase "$*" in *create*stuck*) ${hang};; esac\nexec runc "$@"\n`,
      { mode: 0o755 },
    )
    const options = {
      typeUrl: OptionsSchema.typeName,
      value: toBinary(OptionsSchema, create(OptionsSchema, { binaryName: runtime })),
    }
    const tasks = await shim.connect(await shim.bundle('ok', ['sh', '-c', 'exit 7']))
    const { shimPid } = await tasks.connect({ id: '' })
    const stuck: Promise<unknown>[] = []
    // More than there are places for.
    for (let n = 0; n < 20; n += 1) {
      const { request } = await shim.bundle(`stuck${n}`, ['true'])
      stuck.push(tasks.create({ ...request, options }).catch((err: unknown) => err))
    }
    try {
      await shim.until(() => shim.childrenOf(shimPid).length >= 8)
      const { request } = await shim.bundle('ok2', ['sh', '-c', 'exit 7'])
      await tasks.create({ ...request, options })
      await tasks.start({ id: 'ok2' })
      assert.equal((await tasks.wait({ id: 'ok2' })).exitStatus, 7)
      await tasks.delete({ id: 'ok2' })
    } finally {
      let ended = false
      void Promise.all(stuck).then(() => (ended = true))
      await shim.until(() => {
        for (const pid of shim.childrenOf(shimPid)) end(pid)
        return ended
      })
    }
  })
})

/** Ends a runtime that hangs. */
function end(pid: string): void {
  try {
    if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('create')) {
      process.kill(Number(pid), 'SIGKILL')
    }
  } catch {
    // It has ended meanwhile.
  }
}
