import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import type { Task } from '#client/task.ts'
import { run, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { eventually } from '#testing/eventually.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'
import { checkOut, olderCommit } from '#testing/older.ts'

const image = 'docker.io/library/busybox:latest'
const commit = olderCommit()
const why = process.getuid?.() === 0 ? 'needs the history of the repository' : 'needs root'
const skip = commit !== undefined && process.getuid?.() === 0 ? false : why

/** Says a number from time to time until it is told to end, then ends with a status of its own. */
const talk = (status: number): string[] => [
  'sh',
  '-c',
  `trap 'exit ${status}' TERM; n=0; while true; do echo $n; n=$((n + 1)); sleep 0.05; done`,
]

suite('a daemon that takes the place of an older one', { skip, timeout: 240_000 }, () => {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    test(`which got ${signal}, has all that it ran, and replaces its host when that is empty`, async () => {
      await using dir = await mkdtempDisposable(join(tmpdir(), 'upgrade-'))
      const program = checkOut(commit ?? '', dir.path)
      await using older = await startDaemon({ program })
      const file = join(older.dir, 'image.tar')
      await writeImage(busyboxImage(image), file)
      const imported = await run('ctr', ['-a', older.address, 'image', 'import', file])
      assert.equal(imported.code, 0, imported.stderr)
      await using told = await connectTo(older)
      await using before = await startAll(told, older)
      const [host = ''] = hostsOf(older)
      assert.match(commandOf(host), new RegExp(`${dir.path}/older/bin/`))

      await older.stop(signal)
      await using daemon = await startDaemon({ dir: older.dir })
      await using client = await connectTo(daemon)
      await assertAllThere(client, before)
      // Whoever comes now is served by the older host, which cannot be told from a new one.
      assert.equal((await runOnce(client, 'new')).status, 5)
      assert.deepEqual(hostsOf(daemon), [host])
      await endAll(client, before)

      await daemon.stop()
      await eventually(async () => await Promise.resolve(hostsOf(daemon).length === 0 || undefined))
      await daemon.start()
      await using again = await connectTo(daemon)
      await using container = await again.containers.create('last', { image, args: ['cat'] })
      await using _task = await container.start({ stdin: '' })
      const [next = ''] = hostsOf(daemon)
      assert.ok(!commandOf(next).includes(dir.path), commandOf(next))
    })
  }

  test('gives the containers of an older host that is killed to one of its own', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'upgrade-'))
    await using older = await startDaemon({
      node: process.execPath,
      program: checkOut(commit ?? '', dir.path),
    })
    const file = join(older.dir, 'image.tar')
    await writeImage(busyboxImage(image), file)
    await run('ctr', ['-a', older.address, 'image', 'import', file])
    await using told = await connectTo(older)
    await using before = await startAll(told, older)
    await older.stop('SIGKILL')
    const hosts = hostsOf(older)
    for (const pid of hosts) process.kill(Number(pid), 'SIGKILL')
    await using daemon = await startDaemon({ dir: older.dir })
    await using client = await connectTo(daemon)
    await assertAllThere(client, before)
    const [next = ''] = hostsOf(daemon)
    assert.ok(!commandOf(next).includes(dir.path), commandOf(next))
    await endAll(client, before)
  })
})

/** What the older daemon runs. */
interface Estate extends AsyncDisposable {
  readonly tasks: readonly Task[]
  /** What each has said, by its id. */
  readonly said: ReadonlyMap<string, () => string>
  /** The exec that runs in the first of them. */
  readonly execId: string
}

const ids = ['one', 'two', 'three']
const statusOf = (id: string): number => 11 + ids.indexOf(id)

async function startAll(client: Client, { dir }: TestDaemon): Promise<Estate> {
  await using scope = new AsyncDisposableStack()
  const said = new Map<string, () => string>()
  const tasks: Task[] = []
  for (const id of ids) {
    const args = talk(statusOf(id))
    const container = await client.containers.create(id, { image, args })
    container.keep()
    const path = join(dir, `${id}.log`)
    let text = ''
    const stdout = (chunk: Uint8Array): void => void (text += Buffer.from(chunk).toString())
    // One of them has its output in a file.
    const task = await container.start(id === 'two' ? { logUri: `file://${path}` } : { stdout })
    said.set(id, () => (id === 'two' ? readFileSync(path, 'utf8') : text))
    tasks.push(task)
  }
  const [first] = tasks
  assert.ok(first)
  const exec = await first.startExec({ args: talk(21) })
  for (const say of said.values()) await eventually(async () => Promise.resolve(say() || undefined))
  const owned = scope.move()
  return {
    tasks,
    said,
    execId: exec.id,
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  }
}

async function assertAllThere(client: Client, { tasks, said, execId }: Estate): Promise<void> {
  const lengths = new Map([...said].map(([id, say]) => [id, say().length]))
  for (const { id, pid } of tasks) {
    const task = await eventually(async () => await found(client, id))
    assert.deepEqual([task.pid, (await task.state()).status], [pid, 'running'], id)
  }
  const [first] = tasks
  const task = await found(client, first?.id ?? '')
  assert.equal((await task?.state({ execId }))?.status, 'running')
  for (const [id, say] of said) {
    await eventually(async () =>
      Promise.resolve(say().length > (lengths.get(id) ?? 0) || undefined),
    )
  }
}

async function found(client: Client, id: string): Promise<Task | undefined> {
  try {
    return await (await client.containers.get(id)).task()
  } catch {
    return undefined
  }
}

async function endAll(client: Client, { said }: Estate): Promise<void> {
  for (const id of ids) {
    const container = await client.containers.get(id)
    const task = await container.task()
    const ending = task.wait()
    await task.kill('SIGTERM')
    // 255 where the kernel does not tell how a process ended that is nobody's child here.
    assert.ok([statusOf(id), 255].includes((await ending).status), id)
    await task.end()
    await container.delete()
    const numbers = said.get(id)?.().split('\n').filter(Boolean).map(Number) ?? []
    assert.deepEqual(
      numbers,
      numbers.map((_, n) => n),
      `output of ${id}`,
    )
  }
}

async function runOnce(client: Client, id: string): Promise<{ readonly status: number }> {
  const args = ['sh', '-c', 'exit 5']
  await using container = await client.containers.create(id, { image, args })
  return await container.run()
}

const connectTo = async ({ address, dir }: TestDaemon): Promise<Client> =>
  await connect(address, { fifoDir: dir })

/** Pids of the hosts that serve for the daemon. */
const hostsOf = ({ address }: TestDaemon): string[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => /shim-wharf.*serve/.test(commandOf(pid)) && commandOf(pid).includes(address))

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
  } catch {
    return ''
  }
}
