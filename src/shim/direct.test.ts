import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { suite, test } from 'node:test'
import { promisify } from 'node:util'

import { Status } from '#gen/types/task_pb.ts'
import { cgroupPaths } from '#sys/cgroup.ts'
import { identify } from '#sys/process-end.ts'
import { withLegacyCgroups } from '#testing/legacy-cgroups.ts'
import { root } from '#testing/root.ts'

import { deleteDirectly, finishStart, startDirectly } from './runc/direct.ts'
import { ShimFixture } from './test-host.ts'

const run = promisify(execFile)

type Binary = 'runc' | 'crun'

/** A container that the runtime itself has created. */
class Created {
  readonly stateDir: string
  readonly pid: number
  readonly groups: readonly string[]
  readonly #root: string
  readonly #binary: Binary

  private constructor(rootDir: string, pid: number, binary: Binary) {
    this.#root = rootDir
    this.#binary = binary
    this.stateDir = join(rootDir, 'c')
    this.pid = pid
    this.groups = [...cgroupPaths(pid).values()].filter((path) => basename(path).endsWith('-c'))
  }

  static async open(
    shim: ShimFixture,
    args: readonly string[],
    { hooks = {}, binary = 'runc' }: { readonly hooks?: object; readonly binary?: Binary } = {},
  ): Promise<Created> {
    const { path } = await shim.bundle('c', args)
    // As text: it has numbers that no double holds.
    const spec = readFileSync(join(path, 'config.json'), 'utf8')
      .replace('"path":"rootfs"', `"path":"${join(shim.dir, 'image')}"`)
      .replace('{', `{"hooks":${JSON.stringify(hooks)},`)
    writeFileSync(join(path, 'config.json'), spec)
    const rootDir = join(shim.dir, 'runc', shim.namespace)
    const pidFile = join(path, 'init.pid')
    await runtime(binary, rootDir, 'create', '--bundle', path, '--pid-file', pidFile, 'c')
    return new Created(rootDir, Number(readFileSync(pidFile, 'utf8')), binary)
  }

  async status(): Promise<string> {
    const { status } = JSON.parse(await this.asked('state', 'c'))
    return String(status)
  }

  /** Has the runtime do something. @returns what it says. */
  async asked(...args: readonly string[]): Promise<string> {
    return await runtime(this.#binary, this.#root, ...args)
  }

  async start(binary: string = this.#binary): Promise<boolean> {
    return await startDirectly(binary, this.stateDir, this.pid, AbortSignal.timeout(10_000))
  }

  async delete(binary: string = this.#binary): Promise<boolean> {
    return await deleteDirectly(binary, this.stateDir)
  }

  async runs(shim: ShimFixture, name: string): Promise<void> {
    await shim.until(() => readFileSync(`/proc/${this.pid}/cmdline`, 'utf8').startsWith(name))
  }

  async kill(shim: ShimFixture): Promise<void> {
    process.kill(this.pid, 'SIGKILL')
    await shim.until(() => !existsSync(`/proc/${this.pid}`))
    // Its other threads may end a moment later.
    const tasks = this.groups.map((path) => join(path, 'cgroup.procs'))
    await shim.until(() => tasks.every((path) => readFileSync(path, 'utf8') === ''))
  }

  /** Changes a file of its state. */
  edit(name: string, change: (was: Record<string, unknown>) => object): void {
    const path = join(this.stateDir, name)
    writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, 'utf8')))))
  }
}

/** Its streams are not kept: a container would hold them. */
async function runtime(
  binary: Binary,
  rootDir: string,
  ...args: readonly string[]
): Promise<string> {
  const log = join(rootDir, '..', 'log')
  const script = 'exec "$0" "$@" > "$OUT" 2>&1 < /dev/null'
  const [command, ...before] = binary === 'crun' ? [...withLegacyCgroups, 'sh'] : ['sh']
  const env = { ...process.env, OUT: log }
  const all = [...before, '-c', script, binary, '--root', rootDir, ...args]
  await run(command, all, { env }).catch(() => {
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

for (const binary of ['runc', 'crun'] as const) {
  suite(`what a host does in the place of ${binary}`, () => {
    check('a container is started and deleted as by the runtime', async (shim) => {
      const one = await Created.open(shim, ['sleep', '1000'], { binary })
      assert.ok(one.groups.length > 0 && one.groups.every((path) => existsSync(path)))
      assert.equal(await one.status(), 'created')
      assert.equal(await one.start(), true)
      assert.equal(await one.status(), 'running')
      await one.runs(shim, 'sleep')
      assert.equal(await one.start(), false)
      await one.kill(shim)
      assert.equal(await one.delete(), true)
      assert.ok(!existsSync(one.stateDir))
      assert.deepEqual(
        one.groups.filter((path) => existsSync(path)),
        [],
      )
      await assert.rejects(one.status(), /does not exist|No such file/)
    })

    check('an init that has ended is left to the runtime, which says so', async (shim) => {
      const one = await Created.open(shim, ['true'], { binary })
      await one.kill(shim)
      assert.equal(await one.start(), false)
      await assert.rejects(
        one.asked('start', 'c'),
        /cannot start a container that has stopped|is not running/,
      )
      assert.equal(await one.delete(), true)
    })

    check('hooks of these steps are left to the runtime', async (shim) => {
      const said = join(shim.dir, 'said')
      const hook = [{ path: '/bin/sh', args: ['sh', '-c', `echo stopped >> ${said}`] }]
      const one = await Created.open(shim, ['true'], { hooks: { poststop: hook }, binary })
      assert.equal(await one.start(), false)
      await one.asked('start', 'c')
      // A zombie is one that runs, to crun.
      await shim.until(() => !existsSync(`/proc/${one.pid}`))
      assert.equal(await one.delete(), false)
      await one.asked('delete', 'c')
      assert.equal(readFileSync(said, 'utf8'), 'stopped\n')
    })

    check('a start that was cut off in its middle is ended', async (shim) => {
      const one = await Created.open(shim, ['sleep', '1000'], { binary })
      const fifo = join(one.stateDir, 'exec.fifo')
      finishStart(binary, one.stateDir, identify(one.pid))
      assert.equal(await one.status(), 'created')
      if (binary === 'runc') await run('head', ['-c', '1', fifo])
      else writeFileSync(fifo, '\0')
      await one.runs(shim, 'sleep')
      finishStart(binary, one.stateDir, identify(one.pid))
      assert.equal(await one.status(), 'running')
      await one.kill(shim)
      assert.equal(await one.delete(), true)
    })
  })
}

suite('what is left to crun', () => {
  check('slices of systemd, groups elsewhere, a shared pid namespace, RDT', async (shim) => {
    const one = await Created.open(shim, ['sleep', '1000'], { binary: 'crun' })
    const linux = { namespaces: [{ type: 'pid' }] }
    for (const [file, change] of [
      ['status', { 'systemd-cgroup': true }],
      ['status', { 'cgroup-path': '/../c' }],
      ['status', { 'cgroup-path': '/' }],
      ['status', { pid: 0 }],
      ['config.json', { linux: { namespaces: [{ type: 'pid', path: '/proc/1/ns/pid' }] } }],
      ['config.json', { linux: { ...linux, intelRdt: {} } }],
    ] as const) {
      let before: object = {}
      one.edit(file, (was) => ({ ...(before = was), ...change }))
      assert.equal(await one.start(), false, JSON.stringify(change))
      assert.equal(await one.delete(), false, JSON.stringify(change))
      one.edit(file, () => before)
    }
    assert.equal(await one.start(), true)
    await one.kill(shim)
    assert.equal(await one.delete(), true)
  })

  check('one that somebody let go before is only found running', async (shim) => {
    const one = await Created.open(shim, ['sleep', '1000'], { binary: 'crun' })
    writeFileSync(join(one.stateDir, 'exec.fifo'), '\0')
    await one.runs(shim, 'sleep')
    assert.equal(await one.start(), true)
    assert.equal(await one.status(), 'running')
    await one.kill(shim)
    assert.equal(await one.delete(), true)
  })
})

suite('what is left to runc', () => {
  check('a shared pid namespace, systemd, RDT, and groups elsewhere', async (shim) => {
    const one = await Created.open(shim, ['true'])
    await one.kill(shim)
    assert.equal(await one.delete(), true)
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
  })

  check('runtimes of other names, and groups below its own', async (shim) => {
    const one = await Created.open(shim, ['sleep', '1000'])
    assert.equal(await one.start('/usr/bin/crun'), false)
    assert.equal(await one.start('/usr/bin/youki'), false)
    assert.equal(await one.start('/opt/bin/sysbox-runc'), false)
    assert.equal(await one.start('/usr/sbin/runc'), true)
    const [group = ''] = one.groups
    mkdirSync(join(group, 'below'))
    await one.kill(shim)
    assert.equal(await one.delete('crun'), false)
    assert.equal(await one.delete(), false)
    await one.asked('delete', 'c')
    if (existsSync(join(group, 'below'))) rmdirSync(join(group, 'below'))
    assert.ok(!existsSync(one.stateDir))
  })
})

suite('a host that is killed', () => {
  check('in the middle of a start leaves a container that runs', async (shim) => {
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
  })
})
