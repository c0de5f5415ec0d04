import assert from 'node:assert/strict'
import { test } from 'node:test'

import { run } from '#testing/daemon.ts'

import { busybox, type Normalise, type Pair, sideBySide } from './pair.ts'

/** Process ids, and what a cgroup counts. */
const pids: Normalise = [[/\b\d{2,7}\b/g, '<n>']]

/**
 * runc tells its error in its log and on its standard error, which with wharf is the container's
 * own: there is no copying in between that could hold it back.
 */
const runcTwice: Normalise = [[/^(runc create|exec) failed: .*\n/gm, '']]

/** Runs `ctr` with a terminal of its own, as a person would, and gives what the terminal showed. */
async function onTerminal(pair: Pair, side: 'theirs' | 'ours', command: string): Promise<string> {
  const ctr = `${pair.peer.ctr} -a ${pair[side].address} ${command}`
  const script = ['-q', '-e', '-c', ctr, '/dev/null']
  const { stdout, code } = await run('script', script)
  // A process that ends at once may be gone before ctr can tell it the size of the terminal.
  const shown = stdout.replaceAll(/\r+\n/g, '\n').replaceAll(/^.*resize pty.*\n/gm, '')
  return `${code}: ${shown}`
}

sideBySide(
  'run',
  (pair) => {
    test('gives what the container wrote, and its exit code', async () => {
      const p = pair()
      await p.same(['run', '--rm', busybox, 'r1', 'echo', 'hello'])
      await p.same(['run', '--rm', busybox, 'r2', 'sh', '-c', 'echo out; echo err >&2; exit 7'])
      await p.same([
        'run',
        '--rm',
        '--env',
        'A=b',
        '--cwd',
        '/tmp',
        busybox,
        'r3',
        'sh',
        '-c',
        'pwd; env',
      ])
      await p.same(['run', '--rm', '--user', '65534', busybox, 'r4', 'id'])
      await p.same(['run', '--rm', '--read-only', busybox, 'r5', 'touch', '/x'])
      await p.same(['run', '--rm', '--memory-limit', '33554432', busybox, 'r6', 'true'])
      await p.all('containers ls', 'tasks ls', 'snapshot ls')
    })

    test('passes standard input on, byte for byte', async () => {
      const input = `head -c 5000000 /dev/urandom > ${pair().ours.dir}/in`
      await run('sh', ['-c', input])
      for (const side of ['theirs', 'ours'] as const) {
        const ctr = `${pair().peer.ctr} -a ${pair()[side].address} -n ${side === 'ours' ? 'wharfs' : 'theirs'}`
        const command = `cat ${pair().ours.dir}/in | ${ctr} run --rm ${busybox} in1 cat | cmp - ${pair().ours.dir}/in`
        const { code, stdout, stderr } = await run('sh', ['-c', command])
        assert.equal(code, 0, `${side}: ${stdout}${stderr}`)
      }
    })

    test('a large output arrives whole', async () => {
      const { stdout, code } = await pair().ctr('run', '--rm', busybox, 'big', 'seq', '1', '300000')
      assert.equal(code, 0)
      assert.equal(stdout.split('\n').length, 300_001)
      assert.ok(stdout.endsWith('\n300000\n'))
    })

    test('with a terminal, the container has one', async () => {
      const command = `run --rm -t ${busybox} t1 sh -c 'tty; echo hello; exit 3'`
      for (const side of ['theirs', 'ours'] as const) {
        const flags = side === 'ours' ? '-n wharfs' : '-n theirs'
        const shown = await onTerminal(pair(), side, `${flags} ${command}`)
        assert.equal(shown, '3: /dev/pts/0\nhello\n', side)
      }
    })

    test('in the background, the task goes on, and is removed by hand', async () => {
      const p = pair()
      await p.same(['run', '-d', busybox, 'd1', 'sleep', '1000'])
      await p.same(['tasks', 'ls'], { normalise: pids })
      await p.all('containers rm d1', 'tasks rm d1')
      await p.all('tasks kill -s SIGKILL d1')
      await stopped(p, 'd1')
      await p.same(['tasks', 'ls'], { normalise: pids })
      await p.same(['tasks', 'rm', 'd1'], { stderr: false })
      await p.all('containers rm d1', 'tasks ls', 'containers ls', 'snapshot ls')
    })

    test('what is wrong is refused with the same words', async () => {
      const p = pair()
      await p.same(['run', '--rm', busybox, 'bad id', 'true'])
      await p.same(['run', '--rm', busybox, 'e1', 'no-such-program'], { normalise: runcTwice })
      const relative = ['run', '--rm', '--cwd', 'relative', busybox, 'e2', 'true']
      await p.same(relative, { normalise: runcTwice })
      await p.same(['run', '--rm', '--runtime', 'io.containerd.nope.v1', busybox, 'e3', 'true'])
      const nonsense = ['run', '--rm', '--runtime', 'nonsense', busybox, 'e4', 'true']
      await p.same(nonsense, { normalise: [[/runc\.v[12]/g, 'runc']] })
      await p.same(['run', '--rm', '--snapshotter', 'nope', busybox, 'e5', 'true'])
      await p.all('containers ls', 'tasks ls', 'snapshot ls')
    })
  },
  { image: true },
)

/** Waits until a task has ended on both sides. */
async function stopped(pair: Pair, id: string): Promise<void> {
  for (const side of ['theirs', 'ours'] as const) {
    const ctr = `${pair.peer.ctr} -a ${pair[side].address} -n ${side === 'ours' ? 'wharfs' : 'theirs'}`
    const wait = `for i in $(seq 100); do ${ctr} tasks ls | grep -q '${id}.*STOPPED' && exit 0; sleep 0.1; done; exit 1`
    assert.equal((await run('sh', ['-c', wait])).code, 0, `${id} did not stop on ${side}`)
  }
}

sideBySide(
  'containers and tasks',
  (pair) => {
    test('a container is created, shown, labelled and removed', async () => {
      const p = pair()
      await p.same(['container', 'create', '--label', 'a=b', busybox, 'c1', 'sleep', '1000'])
      await p.all(
        'container ls',
        'container ls -q',
        'container ls labels.a==b',
        'container ls id==nope',
        'container info --spec c1',
        'container label c1 x=y',
        'container ls id==c1',
        `container create ${busybox} c1`,
        'container info missing',
        'container rm missing',
        'container rm c1',
        'container ls',
      )
    })

    test('container info has what was asked for', async () => {
      const p = pair()
      await p.same(['container', 'create', busybox, 'c2', 'true'])
      const parse = async (...args: string[]) => JSON.parse((await p.ctr(...args)).stdout)
      const info = await parse('container', 'info', 'c2')
      assert.equal(info.ID, 'c2')
      assert.equal(info.Image, busybox)
      assert.equal(info.Runtime.Name, 'io.containerd.runc.v2')
      assert.equal(info.Snapshotter, 'overlayfs')
      assert.deepEqual(info.Spec.process.args, ['true'])
      await p.all('container rm c2')
    })

    test('a task is started, executed in, paused, measured, killed and removed', async () => {
      const p = pair()
      await p.same(['container', 'create', busybox, 'c3', 'sleep', '1000'])
      await p.all('tasks ls')
      await p.same(['task', 'start', '-d', 'c3'])
      await p.same(['task', 'start', '-d', 'c3'])
      await p.same(['task', 'ls'], { normalise: pids })
      await p.same(['task', 'ps', 'c3'], { normalise: pids })
      await p.same(['task', 'exec', '--exec-id', 'e1', 'c3', 'echo', 'hello'])
      await p.same(['task', 'exec', '--exec-id', 'e2', 'c3', 'sh', '-c', 'exit 9'])
      const exec = ['task', 'exec', '--exec-id', 'e3', 'c3', 'no-such-program']
      await p.same(exec, { normalise: runcTwice })
      await p.same(['task', 'exec', '--exec-id', 'e4', '--user', '65534', 'c3', 'id'])
      await p.same(['task', 'pause', 'c3'])
      await p.same(['task', 'ls'], { normalise: pids })
      await p.same(['task', 'resume', 'c3'])
      await p.same(['task', 'ls'], { normalise: pids })
      await p.same(['task', 'metrics', 'c3'], { normalise: [[/\d+/g, '<n>']] })
      await p.same(['task', 'metrics', '--format', 'json', 'c3'], { codeOnly: true })
      await p.same(['task', 'kill', '-s', 'SIGKILL', 'c3'])
      await stopped(p, 'c3')
      await p.same(['task', 'kill', 'c3'])
      await p.same(['task', 'rm', 'c3'], { stderr: false })
      await p.all('task rm c3', 'task ps c3', 'task pause c3', 'task exec --exec-id e5 c3 true')
      await p.all('container rm c3', 'snapshot ls')
    })

    test('exec with a terminal has one', async () => {
      const p = pair()
      await p.same(['run', '-d', busybox, 'c4', 'sleep', '1000'])
      for (const side of ['theirs', 'ours'] as const) {
        const flags = side === 'ours' ? '-n wharfs' : '-n theirs'
        const command = `${flags} task exec -t --exec-id t1 c4 sh -c 'tty; exit 4'`
        assert.equal(await onTerminal(p, side, command), '4: /dev/pts/0\n', side)
      }
      await p.all('task kill -s SIGKILL c4')
      await stopped(p, 'c4')
      await p.same(['task', 'rm', 'c4'], { stderr: false })
      await p.all('container rm c4')
    })

    test('many containers at once each say their own', async () => {
      const ids = Array.from({ length: 12 }, (_, i) => `m${i}`)
      const runs = ids.map((id) => pair().ctr('run', '--rm', busybox, id, 'echo', id))
      for (const [i, ran] of (await Promise.all(runs)).entries()) {
        assert.equal(ran.code, 0, ran.stderr)
        assert.equal(ran.stdout, `m${i}\n`)
      }
      await pair().all('container ls', 'task ls')
    })
  },
  { image: true },
)

for (const shim of ['built-in', 'Go'] as const) {
  const config =
    shim === 'Go' ? '[plugins."io.containerd.runtime.v2.task"]\nbuiltin_shim = false' : ''
  sideBySide(
    `tasks through the ${shim} shim`,
    (pair) => {
      test('a task outlives the daemon', async () => {
        const p = pair()
        const { code, stderr } = await p.ctr('run', '-d', busybox, 'o1', 'sleep', '1000')
        assert.equal(code, 0, stderr)
        await p.ours.stop('SIGKILL')
        await p.ours.start()
        assert.match((await p.ctr('task', 'ls')).stdout, /^o1\s+\d+\s+RUNNING/m)
        const exec = await p.ctr('task', 'exec', '--exec-id', 'x', 'o1', 'echo', 'still here')
        assert.equal(exec.stdout, 'still here\n', exec.stderr)
        await p.ctr('task', 'rm', '-f', 'o1')
        assert.equal((await p.ctr('container', 'rm', 'o1')).code, 0)
      })

      test('run, exec and exit codes are right', async () => {
        const ran = await pair().ctr('run', '--rm', busybox, 'g1', 'sh', '-c', 'echo hi; exit 5')
        assert.deepEqual([ran.code, ran.stdout], [5, 'hi\n'], ran.stderr)
      })
    },
    // An unknown key is a warning for containerd too.
    { image: true, config },
  )
}
