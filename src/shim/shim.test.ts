import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { ShimFixture, readFifo } from './test-host.ts'

suite('shim host', { timeout: 60_000 }, () => {
  test('a container is created, started, waited for and deleted, and its output arrives', async () => {
    await using shim = await ShimFixture.open()
    const bundle = await shim.bundle('one', ['sh', '-c', 'echo hello; echo oops >&2; exit 7'])
    const tasks = await shim.connect(bundle)
    const [stdout, stderr] = [await shim.fifo('out'), await shim.fifo('err')]
    const output = Promise.all([readFifo(stdout), readFifo(stderr)])
    const { pid } = await tasks.create({
      id: 'one',
      bundle: bundle.path,
      rootfs: bundle.rootfs,
      stdout,
      stderr,
    })
    assert.ok(pid > 1)
    const waiting = tasks.wait({ id: 'one' })
    assert.equal((await tasks.start({ id: 'one' })).pid, pid)
    assert.equal((await waiting).exitStatus, 7)
    assert.deepEqual(await output, ['hello\n', 'oops\n'])
    assert.equal((await tasks.delete({ id: 'one' })).exitStatus, 7)
    assert.deepEqual(await shim.topics(4), [
      '/tasks/create',
      '/tasks/start',
      '/tasks/exit',
      '/tasks/delete',
    ])
  })
})
