import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'

import { cgroupPaths } from '#sys/cgroup.ts'
import { root } from '#testing/root.ts'

import { ShimFixture, execSpec } from './test-host.ts'

const check = (title: string, body: (shim: ShimFixture) => Promise<void>): void => {
  test(title, { timeout: 60_000 }, async (t: TestContext) => {
    if (!root(t)) return
    if (!limitsMemory()) return t.skip('no controller of memory here')
    await using shim = await ShimFixture.open()
    await body(shim)
  })
}

const limitsMemory = (): boolean => {
  const paths = cgroupPaths('self')
  if (paths.has('memory')) return true
  return readFileSync(join(paths.get('') ?? '/', 'cgroup.controllers'), 'utf8').includes('memory')
}

/** What an update sends: so many bytes, swap included. */
const limitOf = (limit: number) => ({
  typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/LinuxResources',
  value: Buffer.from(JSON.stringify({ memory: { limit, swap: limit } })),
})

const greedy = ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=200M', 'count=1'] as const

suite('a container without memory', () => {
  check('is told of before the end of the process that was killed', async (shim) => {
    const bundle = await shim.bundle('one', ['sleep', '1000'])
    const tasks = await shim.connect(bundle)
    await tasks.create(bundle.request)
    await tasks.start({ id: 'one' })
    await tasks.update({ id: 'one', resources: limitOf(40_000_000) })
    await tasks.exec({ id: 'one', execId: 'x', spec: execSpec(...greedy) })
    const waiting = tasks.wait({ id: 'one', execId: 'x' })
    await tasks.start({ id: 'one', execId: 'x' })
    assert.equal((await waiting).exitStatus, 137)
    const started = ['/tasks/create', '/tasks/start', '/tasks/exec-added', '/tasks/exec-started']
    assert.deepEqual(await shim.topics(6), [...started, '/tasks/oom', '/tasks/exit'])
    await tasks.kill({ id: 'one', signal: 9 })
    await tasks.wait({ id: 'one' })
    await tasks.delete({ id: 'one' })
    // The first kill is not told again.
    assert.deepEqual((await shim.topics(8)).slice(6), ['/tasks/exit', '/tasks/delete'])
  })

  check('is told of, too, when nobody waits for what was killed', async (shim) => {
    const command = `sleep 1; ${greedy.join(' ')}; exec sleep 1000`
    const bundle = await shim.bundle('two', ['sh', '-c', command])
    const tasks = await shim.connect(bundle)
    await tasks.create(bundle.request)
    await tasks.update({ id: 'two', resources: limitOf(40_000_000) })
    await tasks.start({ id: 'two' })
    assert.deepEqual(await shim.topics(3), ['/tasks/create', '/tasks/start', '/tasks/oom'])
    await tasks.kill({ id: 'two', signal: 9 })
    await tasks.wait({ id: 'two' })
    await tasks.delete({ id: 'two' })
  })
})
