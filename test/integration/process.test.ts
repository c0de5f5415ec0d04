import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { suite, test } from 'node:test'

import { Content } from '#gen/services/content_pb.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import { cgroupMode, cgroupPaths, cgroupsOf } from '#sys/cgroup.ts'
import { run, startDaemon } from '#testing/daemon.ts'
import { eventually } from '#testing/eventually.ts'
import { bindNotifySocket } from '#testing/notify-socket.ts'

/* How the daemon behaves as a process of the machine. */

const skip = process.getuid?.() === 0 ? false : 'needs root'

suite('the daemon as a process', { skip, timeout: 120_000 }, () => {
  test('tells its service manager how far it is', async (t) => {
    await using first = await startDaemon()
    await first.stop()
    const path = join(first.dir, 'notify')
    using manager = bindNotifySocket(path)
    await using daemon = await startDaemon({ dir: first.dir, env: { NOTIFY_SOCKET: path } })
    assert.equal(await manager.next(t.signal), 'READY=1')
    daemon.process.kill('SIGHUP')
    assert.match(await manager.next(t.signal), /^RELOADING=1\nMONOTONIC_USEC=\d+$/)
    assert.equal(await manager.next(t.signal), 'READY=1')
    await daemon.stop()
    assert.equal(await manager.next(t.signal), 'STOPPING=1')
    assert.equal(daemon.process.exitCode, 0)
  })

  test('writes down what it does on SIGUSR1, and goes on', async () => {
    await using first = await startDaemon()
    await first.stop()
    await using daemon = await startDaemon({ dir: first.dir, env: { TMPDIR: first.dir } })
    const path = join(daemon.dir, `containerd.${daemon.process.pid}.stacks.log`)
    daemon.process.kill('SIGUSR1')
    const text = await eventually(async () => await readIfWhole(path))
    assert.match(text, /open handles:[^]*d\.sock/)
    daemon.process.kill('SIGPIPE')
    assert.equal((await run('ctr', ['-a', daemon.address, 'version'])).code, 0)
    assert.doesNotMatch(await daemon.log(), /Debugger listening/)
  })

  test('has the OOM score that is configured', async () => {
    await using daemon = await startDaemon({ top: 'oom_score = 321' })
    assert.equal(await readFile(`/proc/${daemon.process.pid}/oom_score_adj`, 'utf8'), '321\n')
  })

  test('joins the cgroup that is configured, which is made for it', async (t) => {
    const group = `/wharfd-test-${process.pid}`
    let paths: readonly string[] = []
    {
      await using daemon = await startDaemon({ config: `[cgroup]\npath = "${group}"` })
      const { pid = 0 } = daemon.process
      const joined = [...cgroupsOf(pid)].filter(([, path]) => path === group)
      const controllers = joined.map(([controller]) => controller)
      assert.ok(controllers.includes(cgroupMode() === 'unified' ? '' : 'memory'))
      assert.ok(!controllers.some((controller) => controller.startsWith('name=')))
      paths = [...cgroupPaths(pid).values()].filter((path) => path.endsWith(group))
    }
    for (const path of new Set(paths)) await eventually(async () => await removed(path))
    t.diagnostic(`joined ${paths.length} hierarchies`)
  })

  test('ends what would go on for ever when it stops, and waits for the rest', async () => {
    await using daemon = await startDaemon()
    const events = spawn('ctr', ['-a', daemon.address, 'events'], { stdio: 'ignore' })
    const ended = once(events, 'exit')
    await sleep(500)
    await daemon.stop()
    assert.equal(daemon.process.exitCode, 0)
    await ended
  })

  test('stops at once when it is told twice', async () => {
    await using daemon = await startDaemon()
    await using connection = await connectGrpc(daemon.address, {
      metadata: inNamespace('default'),
    })
    const held = Promise.withResolvers<void>()
    async function* requests() {
      yield { ref: 'held' }
      await held.promise
    }
    const replies = connection.client(Content).write(requests())[Symbol.asyncIterator]()
    assert.equal((await replies.next()).done, false)
    const exited = once(daemon.process, 'exit')
    daemon.process.kill('SIGTERM')
    await eventually(async () => ((await daemon.log()).includes('msg=stopping') ? true : undefined))
    daemon.process.kill('SIGTERM')
    const [code] = await exited
    held.resolve()
    assert.equal(code, 1)
    await assert.rejects(replies.next())
  })
})

/** Removes a group, once the processes in it have gone. */
async function removed(path: string): Promise<true | undefined> {
  try {
    await rmdir(path)
    return true
  } catch {
    return undefined
  }
}

/** The text once its last section has been written. */
async function readIfWhole(path: string): Promise<string | undefined> {
  try {
    const text = await readFile(path, 'utf8')
    return text.includes('node-MainThread') ? text : undefined
  } catch {
    return undefined
  }
}

const inNamespace = (namespace: string) => ({ 'containerd-namespace': namespace })
