import assert from 'node:assert/strict'
import { readdirSync, readlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { PassThrough } from 'node:stream'
import { suite, test } from 'node:test'

import type { Task } from '#client/task.ts'
import { eventually } from '#testing/eventually.ts'
import { busyboxImage } from '#testing/image.ts'
import { root } from '#testing/root.ts'

import { deleteAll } from './delete-all.ts'
import { assertNothingLeft, shimHosts } from './leaks.ts'
import { busybox, stepMs, World } from './world.ts'

/** A shell at a terminal, and what it has shown. */
class Screen {
  readonly keys = new PassThrough()
  readonly stdout = (chunk: Uint8Array): void => void (this.#shown += Buffer.from(chunk).toString())
  #shown = ''

  /** Types a command, and waits for what it shows. */
  async ask(command: string, answer: RegExp): Promise<void> {
    this.#shown = ''
    this.keys.write(`${command}\n`)
    await eventually(async () => await Promise.resolve(answer.exec(this.#shown) ?? undefined))
  }
}

/** How many masters of terminals the daemon has open. */
function kept({ daemon }: World): number {
  const dir = `/proc/${daemon.process.pid}/fd`
  const links = readdirSync(dir).map((fd) => {
    try {
      return readlinkSync(`${dir}/${fd}`)
    } catch {
      return ''
    }
  })
  return links.filter((link) => link.endsWith('ptmx')).length
}

/** Where terminals are handed over, which is over at once. */
const meetings = (): string[] =>
  readdirSync(tmpdir()).filter((name) => name.startsWith('wharf-pty-'))

async function killHost(world: World, task: Task, signal: AbortSignal): Promise<void> {
  const hosts = shimHosts(world)
  assert.ok(hosts.length > 0)
  for (const pid of hosts) process.kill(pid, 'SIGKILL')
  await eventually(async () => {
    const state = await task.state({ signal }).catch(() => undefined)
    return state?.status === 'running' ? state : undefined
  })
}

void suite('terminals whose shim host is killed', () => {
  void test('go on, those of execs too, and can be typed into and resized', {
    timeout: 2 * stepMs,
  }, async (t) => {
    if (!root(t)) return
    const signal = t.signal
    await using world = await World.open('terminals')
    const file = await world.archive(busyboxImage(busybox))
    const { code, stderr } = await world.ctr('image', 'import', file)
    assert.equal(code, 0, stderr)

    const before = new Set(meetings())
    const [first, second] = [new Screen(), new Screen()]
    const shell = { image: busybox, args: ['sh'], terminal: true, signal }
    const container = await world.client.containers.create('shell', shell)
    container.keep()
    const io = { stdin: first.keys, stdout: first.stdout, signal }
    const task = await container.start(io)
    const exec = await task.startExec({
      args: ['sh'],
      terminal: true,
      stdin: second.keys,
      stdout: second.stdout,
      signal,
    })
    await first.ask('me=one', /#/)
    await second.ask('me=two', /#/)
    assert.equal(kept(world), 2)
    // A host that is killed would leave them.
    await eventually(
      async () => await Promise.resolve(meetings().every((name) => before.has(name)) || undefined),
    )

    for (let kills = 0; kills < 2; kills++) {
      await killHost(world, task, signal)
      await first.ask('echo I am "$me".', /I am one\./)
      await second.ask('echo I am "$me".', /I am two\./)
      await task.resize({ width: 100 + kills, height: 30 }, { signal })
      await first.ask('stty size', new RegExp(`30 ${100 + kills}`))
    }
    // A daemon that comes back keeps them anew.
    await world.kill()
    await world.daemon.start()
    await eventually(async () => await Promise.resolve(kept(world) === 2 || undefined))
    await world.connect()
    const found = await world.client.containers.get('shell', { signal })
    assert.ok(found)
    await exec[Symbol.asyncDispose]().catch(() => undefined)
    await task[Symbol.asyncDispose]().catch(() => undefined)
    await deleteAll(world)
    assert.equal(kept(world), 0)
    await assertNothingLeft(world)
  })
})
