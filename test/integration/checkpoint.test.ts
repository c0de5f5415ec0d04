import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { Tasks } from '#gen/services/tasks_pb.ts'
import { CheckpointOptionsSchema } from '#gen/types/runc-options_pb.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import type { ServiceClient } from '#lib/rpc/rpc.ts'
import { pack } from '#proxy/convert/pack.ts'
import { everyContainerd } from '#testing/containerd.ts'
import { type Ran, type TestDaemon, run, startDaemon } from '#testing/daemon.ts'
import { eventually } from '#testing/eventually.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'
import { rejectsWith } from '#testing/rejects.ts'

const busybox = 'docker.io/library/busybox:latest'
const [peer] = everyContainerd()
const skip = peer && process.getuid?.() === 0 ? false : 'needs root, and ctr'

/**
 * An OCI runtime whose checkpoints are nothing but a file: criu works on few kernels. Everything else
 * is runc. A restore begins the container anew.
 */
const standIn = (calls: string): string => `#!/bin/sh
echo "$*" >> ${calls}
globals="$1 $2 $3 $4 $5 $6"
shift 6
for last; do :; done
value() { while [ $# -gt 1 ]; do [ "$1" = "$flag" ] && echo "$2"; shift; done; }
flag=--image-path; image=$(value "$@")
case $1 in
  checkpoint)
    mkdir -p $image/more && echo kept > $image/more/state || exit 1
    case " $* " in *" --leave-running "*) exit 0;; esac
    exec runc $globals kill $last KILL;;
  restore)
    [ "$(cat $image/more/state)" = kept ] || exit 1
    flag=--pid-file; pid=$(value "$@"); flag=--bundle; bundle=$(value "$@")
    exec runc $globals run --detach --pid-file $pid --bundle $bundle $last;;
esac
exec runc $globals "$@"
`

/** A daemon with an image, whose containers run by the stand-in. */
class Bench implements AsyncDisposable {
  readonly daemon: TestDaemon
  readonly tasks: ServiceClient<typeof Tasks>
  readonly runtime: string
  readonly #scope: AsyncDisposable

  private constructor(
    daemon: TestDaemon,
    tasks: ServiceClient<typeof Tasks>,
    scope: AsyncDisposable,
  ) {
    this.daemon = daemon
    this.tasks = tasks
    this.runtime = join(daemon.dir, 'stand-in')
    this.#scope = scope
  }

  static async open(env: Readonly<Record<string, string>> = {}): Promise<Bench> {
    await using scope = new AsyncDisposableStack()
    const daemon = scope.use(await startDaemon({ env }))
    const metadata = { 'containerd-namespace': 'default' }
    const connection = scope.use(await connectGrpc(daemon.address, { metadata }))
    const bench = new Bench(daemon, connection.client(Tasks), scope.move())
    writeFileSync(bench.runtime, standIn(join(daemon.dir, 'calls')), { mode: 0o755 })
    await writeImage(busyboxImage(busybox), join(daemon.dir, 'image.tar'))
    const local = (peer?.major ?? 0) > 1 ? ['--local'] : []
    await bench.ok('image', 'import', ...local, join(daemon.dir, 'image.tar'))
    return bench
  }

  async ctr(...args: readonly string[]): Promise<Ran> {
    return await run(peer?.ctr ?? '', ['-a', this.daemon.address, ...args])
  }

  async ok(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.ctr(...args)
    assert.equal(code, 0, `ctr ${args.join(' ')}: ${stdout}${stderr}\n${await this.daemon.log()}`)
    return stdout
  }

  async start(id: string, runtime = this.runtime): Promise<void> {
    await this.ok('run', '-d', '--runc-binary', runtime, busybox, id, 'sleep', '1000')
  }

  async end(id: string): Promise<void> {
    await this.ctr('task', 'rm', '--force', id)
    await this.ok('container', 'rm', id)
  }

  /** The latest call of the runtime with this command. */
  call(command: string): string {
    const calls = readFileSync(join(this.daemon.dir, 'calls'), 'utf8').split('\n')
    return calls.findLast((call) => call.includes(` ${command} `)) ?? ''
  }

  /** Directories with images of checkpoints that the daemon keeps. */
  kept(): string[] {
    const dir = join(this.daemon.root, 'io.containerd.grpc.v1.tasks/checkpoints')
    return existsSync(dir) ? readdirSync(dir, { recursive: true }).map(String) : []
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scope[Symbol.asyncDispose]()
  }
}

suite('checkpoints', { skip, timeout: 180_000 }, () => {
  test('go into the content store and become tasks again', async () => {
    await using bench = await Bench.open()
    const { tasks } = bench
    await bench.start('a')
    const options = pack(CheckpointOptionsSchema, {
      exit: true,
      openTcp: true,
      fileLocks: true,
      emptyNamespaces: ['network'],
    })
    await bench.ok('task', 'pause', 'a')
    const { descriptors } = await tasks.checkpoint({ containerId: 'a', options })
    const types = descriptors.map(({ mediaType }) => mediaType.split('.container.')[1])
    assert.deepEqual(types, ['criu.checkpoint.criu.tar', 'checkpoint.config.v1+proto'])
    const call = bench.call('checkpoint')
    assert.match(call, /--tcp-established --file-locks --empty-ns network a$/)
    for (const { digest } of descriptors)
      assert.match(await bench.ok('content', 'ls'), new RegExp(digest))
    await eventually(async () => (await bench.ok('task', 'ls')).includes('STOPPED') || undefined)
    await bench.ctr('task', 'rm', 'a')

    const [checkpoint] = descriptors
    assert.ok(checkpoint)
    const rootfs = await mountsOf(bench, 'a')
    const created = await tasks.create({ containerId: 'a', rootfs, checkpoint })
    assert.equal(created.pid, 0)
    assert.match(await bench.ok('task', 'ls'), /^a\s+0\s+CREATED$/m)
    assert.deepEqual(bench.kept(), [
      'default',
      'default/a',
      'default/a/more',
      'default/a/more/state',
    ])
    const { pid } = await tasks.start({ containerId: 'a' })
    assert.ok(pid > 0)
    assert.match(await bench.ok('task', 'ls'), new RegExp(`^a\\s+${pid}\\s+RUNNING$`, 'm'))
    assert.deepEqual(bench.kept(), ['default'])
    assert.match(bench.call('restore'), /--detach --pid-file \S+ --no-subreaper --bundle \S+ a$/)
    const waiting = tasks.wait({ containerId: 'a' })
    await tasks.kill({ containerId: 'a', signal: 9 })
    assert.equal((await waiting).exitStatus, 137)
    await bench.end('a')
  })

  test('go where their options say, and leave the task running', async () => {
    await using bench = await Bench.open()
    const { tasks, daemon } = bench
    await bench.start('b')
    const path = join(daemon.dir, 'images')
    const work = join(daemon.dir, 'work')
    const options = pack(CheckpointOptionsSchema, { imagePath: path, workPath: work })
    const { descriptors } = await tasks.checkpoint({ containerId: 'b', options })
    assert.deepEqual(descriptors, [])
    assert.equal(readFileSync(join(path, 'more/state'), 'utf8'), 'kept\n')
    assert.match(bench.call('checkpoint'), new RegExp(`--work-path ${work} --leave-running b$`))
    assert.match(await bench.ok('task', 'ls'), /^b\s+\d+\s+RUNNING$/m)
    await bench.end('b')
  })

  test('one that is not started goes without a trace', async () => {
    await using bench = await Bench.open()
    const { tasks } = bench
    await bench.start('c')
    const { descriptors } = await tasks.checkpoint({ containerId: 'c' })
    await bench.ctr('task', 'rm', '--force', 'c')
    const [checkpoint, spec] = descriptors
    assert.ok(checkpoint && spec)
    const rootfs = await mountsOf(bench, 'c')
    const wrong = tasks.create({ containerId: 'c', rootfs, checkpoint: spec })
    await rejectsWith('unknown', wrong, /unsupported checkpoint type ".*config.v1\+proto"/)
    await tasks.create({ containerId: 'c', rootfs, checkpoint })
    await rejectsWith('unknown', tasks.checkpoint({ containerId: 'c' }), /task in created state/)
    assert.equal((await tasks.delete({ containerId: 'c' })).exitStatus, 0)
    assert.deepEqual(bench.kept(), ['default'])
    await bench.end('c')
  })

  test('are refused without criu, and say what criu said with one that fails', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'no-criu-'))
    symlinkSync(find('runc') ?? '', join(dir.path, 'runc'))
    await using bench = await Bench.open({ PATH: dir.path })
    await bench.start('d', 'runc')
    const { tasks, daemon } = bench
    const need = /need the program criu, which is not in PATH/
    await rejectsWith('unimplemented', tasks.checkpoint({ containerId: 'd' }), need)
    assert.deepEqual(bench.kept(), [])

    writeFileSync(join(dir.path, 'criu'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
    const bundle = join(daemon.state, 'io.containerd.runtime.v2.task/default/d')
    const failing = tasks.checkpoint({ containerId: 'd' })
    await rejectsWith('unknown', failing, new RegExp(`criu.* path= ${bundle}/criu-dump.log`))
    assert.deepEqual(bench.kept(), [])
    assert.match(await bench.ok('task', 'ls'), /^d\s+\d+\s+RUNNING$/m)
    await bench.end('d')
  })

  const criu = spawnSync('criu', ['check'])
  const works = criu.status === 0 ? false : 'criu check fails here, or there is no criu'
  test('of criu go on where they were', { skip: works }, async () => {
    await using bench = await Bench.open()
    const { tasks } = bench
    const count = 'i=0; while true; do i=$((i+1)); echo $i > /count; sleep 0.1; done'
    await bench.ok('run', '-d', busybox, 'e', 'sh', '-c', count)
    const rootfs = await mountsOf(bench, 'e')
    const counted = async (): Promise<number> =>
      Number(await bench.ok('task', 'exec', '--exec-id', 'x', 'e', 'cat', '/count'))
    await eventually(async () => (await counted()) > 20 || undefined)
    const options = pack(CheckpointOptionsSchema, { exit: true })
    const { descriptors } = await tasks.checkpoint({ containerId: 'e', options })
    await bench.ctr('task', 'rm', 'e')
    const [checkpoint] = descriptors
    assert.ok(checkpoint)
    await tasks.create({ containerId: 'e', rootfs, checkpoint })
    await tasks.start({ containerId: 'e' })
    assert.ok((await counted()) > 20)
    await bench.end('e')
  })
})

/** What the root of a container stands on, as `ctr` prints it for a shell. */
async function mountsOf(bench: Bench, id: string) {
  const text = await bench.ok('snapshots', 'mounts', '/x', id)
  const [, type = '', source = '', list = ''] = /-t (\S+) (\S+) \S+ -o (\S+)/.exec(text) ?? []
  return [{ type, source, target: '', options: list.split(',') }]
}

function find(name: string): string | undefined {
  const dirs = `${process.env['PATH'] ?? ''}:/usr/sbin`.split(':')
  return dirs.map((dir) => join(dir, name)).find((path) => existsSync(path))
}
