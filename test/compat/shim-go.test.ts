import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, readdir, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { type Containerd, containerd1, containerd2 } from '#testing/containerd.ts'
import { type Ran, type TestDaemon, run, startDaemon } from '#testing/daemon.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'

const shim = fileURLToPath(new URL('../../bin/containerd-shim-wharf-v1.mjs', import.meta.url))
const image = 'docker.io/library/busybox:latest'

/** The real containerd with our shim in its PATH, and an image. */
class GoDaemon implements AsyncDisposable {
  readonly daemon: TestDaemon
  readonly #ctr: string

  private constructor(daemon: TestDaemon, ctr: string) {
    this.daemon = daemon
    this.#ctr = ctr
  }

  static async start(containerd: Containerd): Promise<GoDaemon> {
    const dir = await mkdtemp(join(tmpdir(), 'wharf-go-'))
    const bin = join(dir, 'bin')
    await mkdir(bin)
    await symlink(shim, join(bin, 'containerd-shim-wharf-v1'))
    const daemon = await startDaemon({
      containerd,
      dir,
      env: {
        PATH: `${bin}:${process.env['PATH'] ?? ''}`,
        WHARF_SHIM_SOCKET_DIR: join(dir, 's'),
        WHARF_RUNC_ROOT: join(dir, 'runc'),
      },
    })
    const go = new GoDaemon(daemon, containerd.ctr)
    await writeImage(busyboxImage(image), join(dir, 'image.tar'))
    await go.ok('image', 'import', join(dir, 'image.tar'))
    return go
  }

  async ctr(...args: readonly string[]): Promise<Ran> {
    return await run(this.#ctr, ['-a', this.daemon.address, ...args])
  }

  /** Stdout of a command that has to succeed. */
  async ok(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.ctr(...args)
    assert.equal(code, 0, `ctr ${args.join(' ')}: ${stdout}${stderr}\n${await this.daemon.log()}`)
    return stdout
  }

  /** Repeats a command until its output contains `text`. */
  async until(text: string, ...args: readonly string[]): Promise<void> {
    while (!(await this.ok(...args)).includes(text)) await sleep(50)
  }

  /** What `ctr events` prints from now on. */
  events(): { readonly text: string } & Disposable {
    const child = spawn(this.#ctr, ['-a', this.daemon.address, 'events'])
    const events = { text: '', [Symbol.dispose]: () => void child.kill() }
    child.stdout.on('data', (chunk: Buffer) => {
      events.text += chunk.toString()
    })
    return events
  }

  /** A `ctr` command line for a shell. */
  command(...args: readonly string[]): string {
    return [this.#ctr, '-a', this.daemon.address, ...args].join(' ')
  }

  async shell(line: string): Promise<Ran> {
    return await run('sh', ['-c', line])
  }

  /** `ctr run` with our shim. */
  async run(flags: readonly string[], id: string, ...command: readonly string[]): Promise<Ran> {
    return await this.ctr('run', ...runFlags, ...flags, image, id, ...command)
  }

  /** Processes with the shim host's name that serve this daemon. */
  async hosts(): Promise<readonly string[]> {
    const { stdout } = await run('pgrep', ['-f', `${this.daemon.address}.*serve`])
    return stdout.split('\n').filter(Boolean)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const id of (await this.ctr('task', 'ls', '-q')).stdout.split('\n').filter(Boolean)) {
      await this.ctr('task', 'rm', '--force', id)
    }
    await this.daemon[Symbol.asyncDispose]()
  }
}

const runFlags = ['--runtime', 'io.containerd.wharf.v1']
const rm = [...runFlags, '--rm']

for (const [name, find] of Object.entries({ '1.6': containerd1, '2': containerd2 })) {
  const containerd = find()
  const why = process.getuid?.() === 0 ? `needs containerd ${name}` : 'needs root'
  const skip = containerd && process.getuid?.() === 0 ? false : why

  suite(`the shim host under containerd ${name}`, { skip, timeout: 240_000 }, () => {
    const check = (title: string, body: (go: GoDaemon) => Promise<void>): void => {
      test(title, { timeout: 120_000 }, async () => {
        if (!containerd) return
        await using go = await GoDaemon.start(containerd)
        await body(go)
      })
    }

    check('containers run with their output and exit code', async (go) => {
      const hello = await go.run(['--rm'], 'a', 'sh', '-c', 'echo out; echo err >&2')
      assert.deepEqual([hello.code, hello.stdout, hello.stderr], [0, 'out\n', 'err\n'])
      const failing = await go.run(['--rm'], 'b', 'sh', '-c', 'exit 42')
      assert.equal(failing.code, 42, failing.stderr)
      const missing = await go.run(['--rm'], 'c', 'nonsense')
      assert.notEqual(missing.code, 0)
      assert.match(
        missing.stderr,
        /OCI runtime create failed: .*"?nonsense"?: executable file not found/,
      )
      assert.equal((await go.hosts()).length, 1)
      assert.equal(await go.ok('container', 'ls', '-q'), '')
    })

    check('a task is paused, measured, entered and killed', async (go) => {
      await go.ok('run', ...runFlags, '-d', image, 'd', 'sleep', '1000')
      assert.match(await go.ok('task', 'ls'), /^d\s+\d+\s+RUNNING$/m)
      const exec = await go.ctr(
        'task',
        'exec',
        '--exec-id',
        'x',
        'd',
        'sh',
        '-c',
        'echo in; exit 3',
      )
      assert.deepEqual([exec.code, exec.stdout], [3, 'in\n'])
      await go.ok('task', 'pause', 'd')
      assert.match(await go.ok('task', 'ls'), /PAUSED/)
      await go.ok('task', 'resume', 'd')
      assert.match(await go.ok('task', 'ls'), /RUNNING/)
      assert.match(await go.ok('task', 'metrics', 'd'), /memory\.usage_in_bytes\s+[1-9]/)
      assert.match(await go.ok('task', 'ps', 'd'), /\d+/)
      await go.ok('task', 'kill', '-s', 'KILL', 'd')
      await go.until('STOPPED', 'task', 'ls')
      assert.match((await go.ctr('task', 'rm', 'd')).stderr, /code 137/)
    })

    check('input reaches a container, and its end too', async (go) => {
      // ctr forgets to close stdin when that ends before the task exists.
      const runs = `until ${go.command('task', 'ls')} | grep -q RUNNING; do sleep 0.1; done`
      const ran = await go.shell(
        `(echo words; ${runs}) | ${go.command('run', ...rm, image, 'e', 'cat')}`,
      )
      assert.deepEqual([ran.code, ran.stdout], [0, 'words\n'], ran.stderr)
      const big = go.command('run', ...rm, image, 'f', 'wc', '-c')
      const counted = await go.shell(`(head -c 3000000 /dev/zero; ${runs}) | ${big}`)
      assert.equal(counted.stdout.trim(), '3000000', counted.stderr)
    })

    check('clients hear of everything in its order', async (go) => {
      using events = go.events()
      while (events.text === '') await go.ok('namespaces', 'label', 'default', 'listening=yes')
      await go.ok('run', ...runFlags, '-d', image, 'j', 'sleep', '1000')
      await go.ok('task', 'exec', '--exec-id', 'x', 'j', 'true')
      await go.ok('task', 'pause', 'j')
      await go.ok('task', 'resume', 'j')
      await go.ok('task', 'kill', '-s', 'KILL', 'j')
      await go.until('STOPPED', 'task', 'ls')
      await go.ctr('task', 'rm', 'j')
      while (!events.text.includes('/tasks/delete')) await sleep(50)
      const topics = events.text.match(/\/tasks\/[a-z-]+/g)
      assert.deepEqual(topics, [
        '/tasks/create',
        '/tasks/start',
        '/tasks/exec-added',
        '/tasks/exec-started',
        '/tasks/exit',
        '/tasks/paused',
        '/tasks/resumed',
        '/tasks/exit',
        '/tasks/delete',
      ])
    })

    check('output goes to a log file', async (go) => {
      const log = join(go.daemon.dir, 'task.log')
      const flags = [...runFlags, '-d', '--log-uri', `file://${log}`]
      await go.ok('run', ...flags, image, 'k', 'sh', '-c', 'echo out; echo err >&2')
      await go.until('STOPPED', 'task', 'ls')
      assert.equal(await readFile(log, 'utf8'), 'out\nerr\n')
    })

    check('a container has a terminal', async (go) => {
      const inside = go.command(
        'run',
        ...rm,
        '-t',
        image,
        't',
        'sh',
        '-c',
        "'tty; seq 3000; exit 5'",
      )
      const ran = await go.shell(`script -qec "${inside}" /dev/null </dev/null`)
      assert.equal(ran.code, 5, ran.stdout)
      const lines = ran.stdout.split(/\r+\n/)
      assert.match(lines[0] ?? '', /\/dev\/pts\/\d+$/)
      assert.deepEqual(
        lines.slice(1, 3001),
        Array.from({ length: 3000 }, (_, i) => String(i + 1)),
      )
    })

    check('when the host is killed the daemon tells the exits and cleans up', async (go) => {
      for (const id of ['g', 'h']) await go.ok('run', ...runFlags, '-d', image, id, 'sleep', '1000')
      const hosts = await go.hosts()
      assert.equal(hosts.length, 1)
      process.kill(Number(hosts[0]), 'SIGKILL')
      const bundles = join(go.daemon.state, 'io.containerd.runtime.v2.task/default')
      while ((await readdir(bundles)).length > 0) await sleep(50)
      assert.equal(await go.ok('task', 'ls', '-q'), '')
      for (const id of ['g', 'h']) await go.ok('container', 'rm', id)
      const again = await go.run(['--rm'], 'g', 'echo', 'again')
      assert.deepEqual([again.code, again.stdout], [0, 'again\n'], again.stderr)
    })

    check('tasks survive a restart of the daemon, which finds their host again', async (go) => {
      await go.ok('run', ...runFlags, '-d', image, 'i', 'sleep', '1000')
      await go.daemon.stop()
      await go.daemon.start()
      assert.match(await go.ok('task', 'ls'), /^i\s+\d+\s+RUNNING$/m)
      await go.ok('task', 'kill', '-s', 'TERM', 'i')
      await go.ok('task', 'kill', '-s', 'KILL', 'i')
      await go.until('STOPPED', 'task', 'ls')
      await go.ctr('task', 'rm', 'i')
      assert.equal(await go.ok('task', 'ls', '-q'), '')
    })
  })
}
