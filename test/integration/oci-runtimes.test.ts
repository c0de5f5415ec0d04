import assert from 'node:assert/strict'
import { readFileSync, symlinkSync } from 'node:fs'
import { mkdtempDisposable, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { everyContainerd } from '#testing/containerd.ts'
import { type DaemonOptions, type Ran, type TestDaemon, run, startDaemon } from '#testing/daemon.ts'
import { eventually } from '#testing/eventually.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'
import { findProgram } from '#testing/programs.ts'

const busybox = 'docker.io/library/busybox:latest'
const [peer] = everyContainerd()
const skip = peer && process.getuid?.() === 0 ? false : 'needs root, and ctr'

interface Started extends AsyncDisposable {
  readonly daemon: TestDaemon
  readonly ctr: (...args: readonly string[]) => Promise<Ran>
}

async function start(options: DaemonOptions): Promise<Started> {
  const daemon = await startDaemon(options)
  const ctr = async (...args: readonly string[]): Promise<Ran> =>
    await run(peer?.ctr ?? '', ['-a', daemon.address, ...args])
  await writeImage(busyboxImage(busybox), join(daemon.dir, 'image.tar'))
  const local = (peer?.major ?? 0) > 1 ? ['--local'] : []
  const imported = await ctr('image', 'import', ...local, join(daemon.dir, 'image.tar'))
  assert.equal(imported.code, 0, imported.stderr)
  return { daemon, ctr, [Symbol.asyncDispose]: async () => await daemon[Symbol.asyncDispose]() }
}

/** A directory of programs for PATH. */
async function directoryOf(...names: readonly string[]) {
  const dir = await mkdtempDisposable(join(tmpdir(), 'path-'))
  for (const name of names) symlinkSync(findProgram(name) ?? '', join(dir.path, name))
  return dir
}

suite('OCI runtimes', { skip, timeout: 120_000 }, () => {
  test('the configured one runs what asks for none, and others what asks for them', async () => {
    const config = `[plugins."io.containerd.runtime.v2.task"]\noci_runtime = "crun"`
    await using bench = await start({ config })
    const { daemon, ctr } = bench
    const runtimeOf = (id: string): string =>
      readFileSync(
        join(daemon.state, 'io.containerd.runtime.v2.task/default', id, 'runtime'),
        'utf8',
      )
    // Where crun does not run containers at all, it still is the one that was asked.
    const created = await ctr('run', '-d', busybox, 'a', 'sleep', '1000')
    if (created.code === 0) assert.equal(runtimeOf('a'), 'crun')
    else assert.match(created.stderr, /crun|cgroups in hybrid mode not supported/)
    const other = await ctr('run', '-d', '--runc-binary', 'runc', busybox, 'b', 'sleep', '1000')
    assert.equal(other.code, 0, other.stderr)
    assert.equal(runtimeOf('b'), 'runc')
    for (const id of ['a', 'b']) await ctr('task', 'rm', '--force', id)
    const told = /found an OCI runtime".*name=crun.*version=[\d.]+/
    await eventually(async () => told.test(await daemon.log()) || undefined)
  })

  test('crun runs containers as runc does', {
    skip: !findProgram('crun') && 'needs crun',
  }, async () => {
    const config = `[plugins."io.containerd.runtime.v2.task"]\noci_runtime = "crun"`
    await using bench = await start({ config, legacyCgroups: true })
    const ctr = async (...args: readonly string[]): Promise<string> => {
      const { code, stdout, stderr } = await bench.ctr(...args)
      assert.equal(code, 0, `ctr ${args.join(' ')}: ${stderr}`)
      return stdout
    }
    const once = await bench.ctr('run', '--rm', busybox, 'once', 'sh', '-c', 'echo told; exit 3')
    assert.deepEqual([once.code, once.stdout], [3, 'told\n'], once.stderr)

    await ctr('run', '-d', '--memory-limit', `${64 << 20}`, busybox, 'a', 'sleep', '1000')
    assert.equal(await ctr('task', 'exec', '--exec-id', 'e', 'a', 'echo', 'inside'), 'inside\n')
    assert.match(await ctr('task', 'ps', 'a'), /^\d+\s/m)
    assert.match(await ctr('task', 'metrics', 'a'), /^memory\.usage/m)
    await ctr('task', 'pause', 'a')
    assert.match(await ctr('task', 'ls'), /^a\s+\d+\s+PAUSED/m)
    await ctr('task', 'resume', 'a')
    await ctr('task', 'kill', '--signal', 'SIGKILL', 'a')
    await eventually(async () => /^a\s+\d+\s+STOPPED/m.test(await ctr('task', 'ls')) || undefined)
    assert.match((await bench.ctr('task', 'rm', 'a')).stderr, /non-zero exit code 137/)
    await ctr('container', 'rm', 'a')
    assert.deepEqual(await readdir(join(bench.daemon.state, 'runc/default')), [])
  })

  test('without any the daemon says so, and what to do', async () => {
    await using empty = await directoryOf()
    await using bench = await start({ env: { PATH: empty.path } })
    const { daemon, ctr } = bench
    const { code, stderr } = await ctr('run', '--rm', busybox, 'a', 'true')
    assert.equal(code, 1)
    assert.match(stderr, /no OCI runtime: neither runc nor crun is in PATH; install one of them/)
    await eventually(
      async () => (await daemon.log()).includes('no container can be started') || undefined,
    )
    // One that is installed meanwhile is found.
    symlinkSync(findProgram('runc') ?? '', join(empty.path, 'runc'))
    const again = await ctr('run', '--rm', busybox, 'b', 'echo', 'found')
    assert.deepEqual([again.code, again.stdout], [0, 'found\n'], again.stderr)
  })

  test('classes of block I/O and RDT are refused with a reason', async () => {
    const table = '[plugins."io.containerd.service.v1.tasks-service"]'
    const config = `${table}\nblockio_config_file = "/b.yaml"\nrdt_config_file = "/r.yaml"`
    await using bench = await start({ config })
    const log = await bench.daemon.log()
    assert.match(log, /blockio initialization failed".*file=\/b.yaml/)
    assert.match(log, /RDT initialization failed".*file=\/r.yaml/)
  })
})
