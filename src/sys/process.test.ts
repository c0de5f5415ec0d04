import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  mkdtempDisposableSync,
  openSync,
  readFileSync,
  readSync,
  writeSync,
} from 'node:fs'
import { createServer, connect, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'

import { cgroupMode, cgroupPaths, parseCgroups } from './cgroup.ts'
import { consoleSocket } from './console-socket.ts'
import { openFifo, pipe, setCloexec, setNonblock } from './fifo.ts'
import { tryLock, unlock } from './flock.ts'
import { mkfifo } from './node.ts'
import { peerCredentials, socketFd } from './peer.ts'
import { exitStatus, pidfdOpen, pidfdSendSignal, setSubreaper, waitpid } from './process.ts'
import { getWindowSize, openPty, setWindowSize } from './pty.ts'

const scratch = (): Disposable & { readonly path: string } => {
  return mkdtempDisposableSync(join(tmpdir(), 'wharf-process-'))
}

test('a lock taken by one open file is refused to another until it is given back', () => {
  using dir = scratch()
  const [a, b] = [openSync(join(dir.path, 'lock'), 'w'), openSync(join(dir.path, 'lock'), 'r')]
  assert.equal(tryLock(a, true), true)
  assert.equal(tryLock(b, true), false)
  assert.equal(tryLock(b, false), false)
  unlock(a)
  assert.equal(tryLock(b, false), true)
  assert.equal(tryLock(a, false), true)
  closeSync(a)
  closeSync(b)
  assert.throws(() => tryLock(a, true), { code: 'EBADF' })
})

test('a grandchild left alone comes to the subreaper and is reaped with its status', async () => {
  setSubreaper()
  const shell = spawn('sh', ['-c', '(exec >&-; sleep 0.1; exit 7) & echo $!'])
  const [line] = await once(shell.stdout, 'data')
  const orphan = Number(String(line))
  await once(shell, 'exit')
  let exit = waitpid(orphan, true)
  while (!exit) {
    await setTimeout(10)
    exit = waitpid(orphan, true)
  }
  setSubreaper(false)
  assert.deepEqual(exit, { pid: orphan, status: 7 })
  assert.equal(waitpid(orphan, true), undefined)
})

test('a wait status becomes what a shell would say', () => {
  assert.equal(exitStatus(0x2a00), 42)
  assert.equal(exitStatus(9), 137)
  assert.equal(exitStatus(0x80 | 11), 139)
})

test('a pidfd signals the process it was opened for', async () => {
  const child = spawn('sleep', ['60'])
  const exited = once(child, 'exit')
  const pidfd = pidfdOpen(child.pid ?? 0)
  pidfdSendSignal(pidfd, 15)
  assert.deepEqual(await exited, [null, 'SIGTERM'])
  assert.throws(() => pidfdSendSignal(pidfd, 15), { code: 'ESRCH' })
  closeSync(pidfd)
})

test('the peer of a unix socket is who connected', async () => {
  using dir = scratch()
  const path = join(dir.path, 's')
  const server = createServer().listen(path)
  const accepted = once(server, 'connection')
  const client = connect(path)
  const [socket] = await accepted
  assert.ok(socket instanceof Socket)
  assert.deepEqual(peerCredentials(socketFd(socket)), {
    pid: process.pid,
    uid: process.getuid?.(),
    gid: process.getgid?.(),
  })
  client.destroy()
  socket.destroy()
  assert.throws(() => socketFd(socket), /no descriptor/)
  server.close()
})

test('a terminal has two ends and a size', () => {
  const { master, slavePath } = openPty()
  setWindowSize(master, { width: 132, height: 43 })
  const slave = openSync(slavePath, 'r+')
  assert.deepEqual(getWindowSize(slave), { width: 132, height: 43 })
  writeSync(slave, 'out\n')
  const got = Buffer.alloc(16)
  assert.equal(got.toString('utf8', 0, readSync(master, got)), 'out\r\n')
  closeSync(slave)
  closeSync(master)
  assert.throws(() => getWindowSize(master), { code: 'EBADF' })
})

const sendTerminal = `
import array, os, socket, sys
master, slave = os.openpty()
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
if len(sys.argv) > 2: sys.exit(0)
s.sendmsg([b"/dev/pts/x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [master]))])
os.write(slave, b"hello")
sys.stdin.read()
`

test('the console socket gives the master that a runtime sends', async (t) => {
  using dir = scratch()
  using socket = await consoleSocket(join(dir.path, 'pty.sock'))
  const sender = spawn('python3', ['-c', sendTerminal, socket.path])
  const exited = once(sender, 'exit')
  const master = await socket.accept(t.signal)
  const got = Buffer.alloc(16)
  assert.equal(got.toString('utf8', 0, readSync(master, got)), 'hello')
  assert.ok(getWindowSize(master))
  sender.stdin.end()
  await exited
  closeSync(master)
})

test('a runtime that hangs up without a terminal is an error, and so is a cancelled wait', async (t) => {
  using dir = scratch()
  using socket = await consoleSocket(join(dir.path, 'pty.sock'))
  await assert.rejects(socket.accept(AbortSignal.timeout(20)), { name: 'TimeoutError' })
  const sender = spawn('python3', ['-c', sendTerminal, socket.path, 'hang-up'])
  await assert.rejects(socket.accept(t.signal), { code: 'ECONNRESET' })
  if (sender.exitCode === null) await once(sender, 'exit')
})

test('a fifo opens at once, whoever is at the other end', () => {
  using dir = scratch()
  const path = join(dir.path, 'fifo')
  mkfifo(path, 0o600)
  assert.throws(() => openFifo(path, 'write', { nonblock: true }), { code: 'ENXIO' })
  const both = openFifo(path, 'readwrite', { nonblock: true })
  const writer = openFifo(path, 'write', { nonblock: false })
  writeSync(writer, 'x')
  const byte = Buffer.alloc(1)
  assert.equal(readSync(both, byte), 1)
  assert.throws(() => readSync(both, byte), { code: 'EAGAIN' })
  const flags = readFileSync(`/proc/self/fdinfo/${writer}`, 'utf8')
  assert.equal(Number.parseInt(/flags:\s+(\d+)/.exec(flags)?.[1] ?? '', 8) & 0o4000, 0)
  closeSync(both)
  closeSync(writer)
})

test('a pipe carries bytes, and its flags can be changed', () => {
  const { read, write } = pipe()
  setNonblock(read, true)
  assert.throws(() => readSync(read, Buffer.alloc(1)), { code: 'EAGAIN' })
  setCloexec(write, false)
  const flags = /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${write}`, 'utf8'))?.[1]
  assert.equal(Number.parseInt(flags ?? '', 8) & 0o2000000, 0)
  writeSync(write, 'ab')
  assert.equal(readSync(read, Buffer.alloc(4)), 2)
  closeSync(read)
  closeSync(write)
})

test('the groups of a process are found where they are mounted', () => {
  assert.deepEqual(
    [...parseCgroups('4:cpu,cpuacct:/a\n1:name=systemd:/b:c\n0::/d\n')],
    [
      ['cpu', '/a'],
      ['cpuacct', '/a'],
      ['name=systemd', '/b:c'],
      ['', '/d'],
    ],
  )
  if (cgroupMode() === 'unavailable') return
  const found = [...cgroupPaths('self').values()].some((path) =>
    readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').includes(String(process.pid)),
  )
  assert.ok(found)
})
