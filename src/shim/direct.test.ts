import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { promisify } from 'node:util'

import { Status } from '#gen/types/task_pb.ts'
import { identify } from '#sys/process-end.ts'
import { root } from '#testing/root.ts'

import { deleteDirectly, startDirectly } from './runc/direct.ts'
import { ShimFixture } from './test-host.ts'

const run = promisify(execFile)

/** A container that runc itself has created. */
class Created {
  readonly stateDir: string
  readonly pid: number
  readonly groups: readonly string[]
  readonly #root: string

  private constructor(rootDir: string, pid: number) {
    this.#root = rootDir
    this.stateDir = join(rootDir, 'c')
    this.pid = pid
    const state: { cgroup_paths: Record<string, string> } = JSON.parse(
      readFileSync(join(this.stateDir, 'state.json'), 'utf8'),
    )
    this.groups = Object.values(state.cgroup_paths)
  }

  static async open(
    shim: ShimFixture,
    args: readonly string[],
    hooks: object = {},
  ): Promise<Created> {
    const { path } = await shim.bundle('c', args)
    // As text: it has numbers that no double holds.
    const spec = readFileSync(join(path, 'config.json'), 'utf8')
      .replace('"path":"rootfs"', `"path":"${join(shim.dir, 'image')}"`)
      .replace('{', `{"hooks":${JSON.stringify(hooks)},`)
    writeFileSync(join(path, 'config.json'), spec)
    const rootDir = join(shim.dir, 'runc', shim.namespace)
    const pidFile = join(path, 'init.pid')
    await runc(rootDir, 'create', '--bundle', path, '--pid-file', pidFile, 'c')
    return new Created(rootDir, Number(readFileSync(pidFile, 'utf8')))
  }

  async status(): Promise<string> {
    const { status } = JSON.parse(await runc(this.#root, 'state', 'c'))
    return String(status)
  }

  async runc(...args: readonly string[]): Promise<string> {
    return await runc(this.#root, ...args)
  }

  async start(binary = 'runc'): Promise<boolean> {
    return await startDirectly(binary, this.stateDir, this.pid, AbortSignal.timeout(10_000))
  }

  async delete(binary = 'runc'): Promise<boolean> {
    return await deleteDirectly(binary, this.stateDir)
  }

  async kill(shim: ShimFixture): Promise<void> {
    process.kill(this.pid, 'SIGKILL')
    await shim.until(() => identify(this.pid) === undefined)
  }
}

/** Its streams are not kept: a container would hold them. */
async function runc(rootDir: string, ...args: readonly string[]): Promise<string> {
  const log = join(rootDir, '..', 'log')
  const script = 'exec runc "$@" > "$OUT" 2>&1 < /dev/null'
  const env = { ...process.env, OUT: log }
  await run('sh', ['-c', script, 'sh', '--root', rootDir, ...args], { env }).catch(() => {
    throw new Error(readFileSync(log, 'utf8'))
  })
  return readFileSync(log, 'utf8')
}

const check = (title: string, body: (shim: ShimFixture) => Promise<void>): void => {
  test(title, { timeout: 60_000 }, async (t) => {
    if (!root(t)) return
    await using shim = await ShimFixture.open()
    mkdirSync(join(shim.dir, 'runc'))
    await body(shim)
  })
}

suite('what a host does in the place of runc', () => {
  check('a container is started and deleted as by runc', async (shim) => {
    const one = await Created.open(shim, ['sleep', '1000'])
    assert.equal(await one.status(), 'created')
    assert.equal(await one.start(), true)
    assert.equal(await one.status(), 'running')
    await shim.until(() => readFileSync(`/proc/${one.pid}/cmdline`, 'utf8').startsWith('sleep'))
    assert.equal(await one.start(), false)
    await one.kill(shim)
    assert.equal(await one.delete(), true)
    assert.ok(!existsSync(one.stateDir))
    assert.deepEqual(
      one.groups.filter((path) => existsSync(path)),
      [],
    )
    await assert.rejects(one.status(), /does not exist/)
  })

  check('an init that has ended is left to runc, which says so', async (shim) => {
    const one = await Created.open(shim, ['true'])
    await one.kill(shim)
    assert.equal(await one.start(), false)
    await assert.rejects(one.runc('start', 'c'), /cannot start a container that has stopped/)
    assert.equal(await one.delete(), true)
  })

  check(
    'hooks of these steps, a shared pid namespace, and systemd are left to runc',
    async (shim) => {
      const said = join(shim.dir, 'said')
      const hook = [{ path: '/bin/sh', args: ['sh', '-c', `echo stopped >> ${said}`] }]
      const one = await Created.open(shim, ['true'], { poststop: hook })
      assert.equal(await one.start(), false)
      await one.runc('start', 'c')
      await shim.until(() => identify(one.pid) === undefined)
      assert.equal(await one.delete(), false)
      await one.runc('delete', 'c')
      assert.equal(readFileSync(said, 'utf8'), 'stopped\n')

      const file = (more: object, namespaces: object[]): void => {
        const config = { namespaces, cgroups: { Systemd: false }, Hooks: null }
        const state = { init_process_pid: one.pid, rootless: false, cgroup_paths: {}, config }
        mkdirSync(one.stateDir, { recursive: true })
        writeFileSync(join(one.stateDir, 'state.json'), JSON.stringify({ ...state, ...more }))
      }
      const apart = { type: 'NEWPID', path: '' }
      for (const [more, namespaces] of [
        [{}, []],
        [{}, [{ type: 'NEWPID', path: '/proc/1/ns/pid' }]],
        [{ rootless: true }, [apart]],
        [{ intel_rdt_path: '/sys/fs/resctrl/c' }, [apart]],
        [{ config: { namespaces: [apart], cgroups: { Systemd: true } } }, [apart]],
        [{ cgroup_paths: { '': '/elsewhere' } }, [apart]],
      ] as const) {
        file(more, [...namespaces])
        assert.equal(await one.delete(), false, JSON.stringify(more))
      }
      // The second as since runc 1.4.
      for (const namespace of [apart, { type: 'NEWPID' }]) {
        file({}, [namespace])
        assert.equal(await one.delete(), true)
      }
    },
  )

  check('other runtimes, and groups below its own, are left to the runtime', async (shim) => {
    const one = await Created.open(shim, ['sleep', '1000'])
    assert.equal(await one.start('/usr/bin/crun'), false)
    assert.equal(await one.start('/opt/bin/sysbox-runc'), false)
    assert.equal(await one.start('/usr/sbin/runc'), true)
    const [group = ''] = one.groups
    mkdirSync(join(group, 'below'))
    await one.kill(shim)
    assert.equal(await one.delete('crun'), false)
    assert.equal(await one.delete(), false)
    await one.runc('delete', 'c')
    if (existsSync(join(group, 'below'))) rmdirSync(join(group, 'below'))
    assert.ok(!existsSync(one.stateDir))
  })

  check(
    'a host that is killed in the middle of a start leaves a container that runs',
    async (shim) => {
      const bundle = await shim.bundle('c', ['sleep', '1000'])
      const before = await shim.connect(bundle)
      const { pid } = await before.create(bundle.request)
      const fifo = join(shim.dir, 'runc', shim.namespace, 'c', 'exec.fifo')
      // Read, and not yet removed.
      assert.equal((await run('head', ['-c', '1', fifo])).stdout, '0')
      await shim.until(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('sleep'))
      const [host = 0] = shim.hosts()
      process.kill(host, 'SIGKILL')
      await shim.until(() => shim.hosts().length === 0)
      const after = await shim.connect(bundle)
      assert.equal((await after.state({ id: 'c' })).status, Status.RUNNING)
      await after.kill({ id: 'c', signal: 9 })
      await after.wait({ id: 'c' })
      await after.delete({ id: 'c' })
    },
  )
})
