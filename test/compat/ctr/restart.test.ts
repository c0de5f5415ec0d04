import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { parseObject, record } from '#core/images/oci.ts'
import { run, type TestDaemon } from '#testing/daemon.ts'
import { eventually } from '#testing/eventually.ts'
import { busyboxImage } from '#testing/image.ts'

import { busybox, type Pair, sideBySide } from './pair.ts'

/*
 * Containers that the restart monitor keeps running: what happens to them, beside containerd's own.
 * The labels are those that `ctr`, and nerdctl with `--restart`, give a container.
 */

type Side = 'theirs' | 'ours'

/** containerd 1.6 restarts always, and does not count. */
const sidesWith = ({ peer }: Pair, policies: boolean): readonly Side[] =>
  policies && peer.major < 2 ? ['ours'] : ['theirs', 'ours']

const key = (name: string): string => `containerd.io/restart.${name}`

/** `ctr` of one side, which has to succeed. */
const clientOf =
  (pair: Pair, side: Side) =>
  async (...args: string[]): Promise<string> => {
    const namespace = side === 'ours' ? 'wharfs' : 'theirs'
    const all = ['-a', pair[side].address, '-n', namespace, ...args]
    const { code, stdout, stderr } = await run(pair.peer.ctr, all)
    assert.equal(code, 0, `ctr ${args.join(' ')}: ${stderr}`)
    return stdout
  }
type Ctr = ReturnType<typeof clientOf>

async function labelsOf(ctr: Ctr, id: string): Promise<Readonly<Record<string, unknown>>> {
  const info = await ctr('container', 'info', id)
  return record(parseObject(Buffer.from(info), 'info')['Labels'])
}

/** The pid and status of the task, as `ctr task ls` shows it. */
async function taskOf(ctr: Ctr, id: string) {
  const line = (await ctr('task', 'ls')).split('\n').find((each) => each.startsWith(`${id} `))
  const [, pid = '', status = ''] = line?.split(/\s+/) ?? []
  return line === undefined ? undefined : { pid: Number(pid), status }
}

/** Waits until the task runs, as another process than `pid`. */
const runs = async (ctr: Ctr, id: string, pid = 0): Promise<number> =>
  await eventually(async () => {
    const task = await taskOf(ctr, id)
    return task?.status === 'RUNNING' && task.pid !== pid ? task.pid : undefined
  })

/** Topics of the events about containers and tasks of one daemon, until disposed. */
class Topics implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly topics: string[] = []

  constructor(peer: Pair['peer'], daemon: TestDaemon) {
    this.#child = spawn(peer.ctr, ['-a', daemon.address, 'events'])
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      for (const [topic] of chunk.toString().matchAll(/\/(tasks|containers)\/[a-z-]+/g))
        this.topics.push(topic)
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exited = once(this.#child, 'exit')
    this.#child.kill()
    await exited
  }
}

/** Ends the containers that `ctr` makes in `body`. */
async function ending(ctr: Ctr, ids: readonly string[], body: () => Promise<void>): Promise<void> {
  try {
    await body()
  } finally {
    for (const id of ids) {
      const steps = [
        ['container', 'label', id, `${key('status')}=`],
        ['task', 'rm', '-f', id],
        ['container', 'rm', id],
      ]
      for (const step of steps) await ctr(...step).catch(() => {})
    }
  }
}

sideBySide(
  'the restart monitor',
  (pair) => {
    test('a container that is killed runs again, with the events of containerd', async () => {
      const told: Record<Side, readonly string[]> = { theirs: [], ours: [] }
      for (const side of sidesWith(pair(), false)) {
        const ctr = clientOf(pair(), side)
        await ending(ctr, ['r1'], async () => {
          const label = `${key('status')}=running`
          await ctr('run', '-d', '--label', label, busybox, 'r1', 'sleep', '9999')
          let pid = await runs(ctr, 'r1')
          await using events = new Topics(pair().peer, pair()[side])
          await sleep(500)
          const before = Number((await labelsOf(ctr, 'r1'))[key('count')] ?? 0)
          for (const restarts of [1, 2]) {
            process.kill(pid, 'SIGKILL')
            pid = await runs(ctr, 'r1', pid)
            const counts = side === 'ours' || pair().peer.major >= 2
            const count = counts ? String(before + restarts) : undefined
            assert.equal((await labelsOf(ctr, 'r1'))[key('count')], count)
          }
          await eventually(async () => {
            await sleep(0)
            return (
              events.topics.filter((topic) => topic === '/tasks/start').length === 2 || undefined
            )
          })
          told[side] = [...events.topics]
        })
      }
      const shared = (topic: string): boolean =>
        pair().peer.major >= 2 || topic.startsWith('/tasks/')
      assert.deepEqual(told.ours.filter(shared), told.theirs)
      assert.equal(told.ours.length, 10, told.ours.join())
    })

    test('on-failure counts, unless-stopped heeds the label, no means no', async () => {
      const ids = ['fails', 'ends', 'never', 'stopped']
      for (const side of sidesWith(pair(), true)) {
        const ctr = clientOf(pair(), side)
        const create = async (id: string, policy: string, ...args: string[]) => {
          const labels = [`${key('status')}=running`, `${key('policy')}=${policy}`]
          const flags = labels.flatMap((label) => ['--label', label])
          await ctr('run', '-d', ...flags, busybox, id, ...args)
        }
        await ending(ctr, ids, async () => {
          await create('fails', 'on-failure:2', 'false')
          await create('ends', 'on-failure', 'true')
          await create('never', 'no', 'false')
          await create('stopped', 'unless-stopped', 'sleep', '9999')
          await ctr('container', 'label', 'stopped', `${key('explicitly-stopped')}=true`)
          const pid = await runs(ctr, 'stopped')
          // containerd may start one that is just being made a second time.
          const { [key('count')]: made } = await labelsOf(ctr, 'stopped')
          if (side === 'ours') assert.equal(made, undefined)
          process.kill(pid, 'SIGKILL')
          await eventually(async () => {
            return (await labelsOf(ctr, 'fails'))[key('count')] === '2' || undefined
          })
          // Several rounds later nothing has changed.
          await sleep(2000)
          const counts = new Map([
            ['fails', '2'],
            ['stopped', made],
          ])
          for (const id of ids) {
            assert.equal((await taskOf(ctr, id))?.status, 'STOPPED', `${id} of ${side}`)
            const { [key('count')]: count } = await labelsOf(ctr, id)
            assert.equal(count, counts.get(id), `${id} of ${side}`)
          }
          await ctr('container', 'label', 'stopped', `${key('explicitly-stopped')}=false`)
          await runs(ctr, 'stopped')
        })
      }
    })

    test('the label can have a task stopped, and the output of the next one kept', async () => {
      for (const side of sidesWith(pair(), false)) {
        const ctr = clientOf(pair(), side)
        await ending(ctr, ['l1'], async () => {
          const log = join(pair()[side].dir, 'restarted.log')
          const label = `${key('loguri')}=file://${log}`
          const script = 'echo out; echo err >&2; exec sleep 9999'
          await ctr('run', '-d', '--label', label, busybox, 'l1', 'sh', '-c', script)
          await ctr('container', 'label', 'l1', `${key('status')}=stopped`)
          await eventually(async () => {
            const task = await taskOf(ctr, 'l1')
            return task === undefined || task.status === 'STOPPED' || undefined
          })
          await ctr('container', 'label', 'l1', `${key('status')}=running`)
          await runs(ctr, 'l1')
          const text = await eventually(async () => {
            const read = await readFile(log, 'utf8').catch(() => '')
            return read.length === 8 ? read : undefined
          })
          assert.deepEqual(text.split('\n').toSorted(), ['', 'err', 'out'])
        })
      }
    })

    test('an image cannot ask for it', async () => {
      const name = 'docker.io/library/evil:latest'
      const proof = join(pair().ours.dir, 'proof')
      const labels = {
        [key('status')]: 'running',
        [key('loguri')]: `binary:///bin/touch?${proof}`,
        vendor: 'x',
      }
      await pair().import({ ...busyboxImage(name), labels })
      const ctr = clientOf(pair(), 'ours')
      await ending(ctr, ['e1'], async () => {
        await ctr('run', '-d', name, 'e1', 'false')
        const found = Object.keys(await labelsOf(ctr, 'e1'))
        assert.ok(found.includes('vendor'))
        assert.deepEqual(
          found.filter((each) => each.startsWith(key(''))),
          [],
        )
        await sleep(1500)
        assert.equal((await taskOf(ctr, 'e1'))?.status, 'STOPPED')
        await assert.rejects(readFile(proof), { code: 'ENOENT' })
      })
    })
  },
  {
    image: true,
    config: '[plugins."io.containerd.internal.v1.restart"]\ninterval = "1s"',
  },
)
