import assert from 'node:assert/strict'
import { closeSync, readFileSync, readSync, statSync } from 'node:fs'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { once } from 'node:events'
import { type TestContext, suite, test } from 'node:test'

import { ShimFixture, execSpec, launch, readFifo, writeFifo } from '#shim/test-host.ts'
import { isErrno } from '#sys/errno.ts'
import { openFifo } from '#sys/fifo.ts'
import { root } from '#testing/root.ts'

import { PipeStdio } from './pipes.ts'

const check = (title: string, body: (shim: ShimFixture) => Promise<void>): void => {
  test(title, { timeout: 60_000 }, async (t: TestContext) => {
    if (!root(t)) return
    await using shim = await ShimFixture.open()
    await body(shim)
  })
}

/** What one reader gets at once: nothing at the end, `undefined` while there is nothing yet. */
async function readOnce(path: string, size: number): Promise<Buffer | undefined> {
  const buffer = Buffer.alloc(size)
  const fd = openFifo(path, 'read', { nonblock: true })
  try {
    return buffer.subarray(0, readSync(fd, buffer))
  } catch (err) {
    if (!isErrno(err, 'EAGAIN')) throw err
    await new Promise(setImmediate)
    return undefined
  } finally {
    closeSync(fd)
  }
}

suite('streams of a process', () => {
  check('the process has the FIFOs of the client themselves', async (shim) => {
    const [stdin, stdout] = [await shim.fifo('in'), await shim.fifo('out')]
    const output = readFifo(stdout)
    const bundle = await shim.bundle('c', ['cat'])
    const tasks = await launch(shim, bundle, { stdin, stdout })
    const { pid } = await tasks.state({ id: 'c' })
    const flags = (fd: number): number =>
      Number.parseInt(
        /flags:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1] ?? '',
        8,
      )
    assert.deepEqual([flags(0) & 0o4003, flags(1) & 0o4003], [0, 1])
    const input = writeFifo(stdin)
    input.end('some words\n')
    await once(input, 'close')
    await tasks.closeIO({ id: 'c', stdin: true })
    assert.equal((await tasks.wait({ id: 'c' })).exitStatus, 0)
    assert.equal(await output, 'some words\n')
  })

  check('input goes on when one writer leaves and another comes', async (shim) => {
    const [stdin, stdout] = [await shim.fifo('in'), await shim.fifo('out')]
    const output = readFifo(stdout)
    const tasks = await launch(shim, await shim.bundle('c', ['cat']), { stdin, stdout })
    for (const words of ['first ', 'second ', 'third']) {
      const input = writeFifo(stdin)
      input.end(words)
      await once(input, 'close')
    }
    await tasks.closeIO({ id: 'c', stdin: true })
    assert.equal((await tasks.wait({ id: 'c' })).exitStatus, 0)
    assert.equal(await output, 'first second third')
  })

  check('a process that writes before its client reads waits, and loses nothing', async (shim) => {
    const stdout = await shim.fifo('out')
    const bundle = await shim.bundle('c', ['seq', '100000'])
    const tasks = await launch(shim, bundle, { stdout })
    const output = await readFifo(stdout)
    assert.equal(output.split('\n').length, 100_001)
    assert.equal((await tasks.wait({ id: 'c' })).exitStatus, 0)
  })

  check('readers come and go, and no byte is lost or doubled', async (shim) => {
    const stdout = await shim.fifo('out')
    const bundle = await shim.bundle('c', ['seq', '300000'])
    const tasks = await launch(shim, bundle, { stdout })
    const chunks: Buffer[] = []
    // Each reads once, and what it leaves is there for the next one.
    for (let size = 1; ; size = (size * 7) % 65_521) {
      const chunk = await readOnce(stdout, size)
      if (chunk?.length === 0) break
      if (chunk) chunks.push(chunk)
    }
    const lines = Buffer.concat(chunks).toString().trimEnd().split('\n')
    assert.equal(lines.length, 300_000)
    assert.ok(lines.every((line, n) => Number(line) === n + 1))
    assert.ok(chunks.length > 50)
    assert.equal((await tasks.wait({ id: 'c' })).exitStatus, 0)
  })

  check('output goes to a log file', async (shim) => {
    const path = join(shim.dir, 'logs/a/log')
    const uri = `file://${path}`
    const bundle = await shim.bundle('c', ['sh', '-c', 'echo out; echo err >&2'])
    const tasks = await launch(shim, bundle, { stdout: uri, stderr: uri })
    await tasks.wait({ id: 'c' })
    assert.equal(await readFile(path, 'utf8'), 'out\nerr\n')
  })

  check('output goes to a logger, which is told whose it is', async (shim) => {
    const logger = join(shim.dir, 'logger')
    const log = join(shim.dir, 'log')
    await writeFile(
      logger,
      `#!/bin/sh\nexec 5>&-\n{ echo "$CONTAINER_ID $CONTAINER_NAMESPACE $*"; cat <&3; cat <&4; } > ${log}\n`,
    )
    await chmod(logger, 0o755)
    const uri = `binary://${logger}?key=value`
    const bundle = await shim.bundle('c', ['sh', '-c', 'echo out; echo err >&2'])
    const tasks = await launch(shim, bundle, { stdout: uri, stderr: uri })
    await tasks.wait({ id: 'c' })
    await tasks.delete({ id: 'c' })
    assert.equal(await readFile(log, 'utf8'), `c ${shim.namespace} key value\nout\nerr\n`)
  })

  check('the owner that the options name gets the FIFOs', async (shim) => {
    const [stdin, stdout] = [await shim.fifo('in'), await shim.fifo('out')]
    const paths = { stdin, stdout, stderr: '', terminal: false }
    using _ = new PipeStdio(paths, { uid: 1234, gid: 1235 })
    for (const path of [stdin, stdout]) {
      const { uid, gid } = statSync(path)
      assert.deepEqual([uid, gid], [1234, 1235])
    }
    assert.equal(statSync('/dev/null').uid, 0)
  })

  check('without paths a process has /dev/null', async (shim) => {
    const bundle = await shim.bundle('c', ['sh', '-c', 'cat; echo lost; exit 6'])
    const tasks = await launch(shim, bundle, {})
    assert.equal((await tasks.wait({ id: 'c' })).exitStatus, 6)
  })
})

suite('terminals', () => {
  check('a process with a terminal reads, writes and is resized', async (shim) => {
    const [stdin, stdout] = [await shim.fifo('in'), await shim.fifo('out')]
    const output = readFifo(stdout)
    const script = 'stty -echo; tty; read line; echo "got $line"; stty size; exit 9'
    const bundle = await shim.bundle('t', ['sh', '-c', script], { terminal: true })
    const tasks = await shim.connect(bundle)
    await tasks.create({ ...bundle.request, stdin, stdout, terminal: true })
    await tasks.resizePty({ id: 't', width: 123, height: 45 })
    await tasks.start({ id: 't' })
    const input = writeFifo(stdin)
    input.end('words\n')
    assert.equal((await tasks.wait({ id: 't' })).exitStatus, 9)
    assert.match(await output, /\/dev\/pts\/0\r\n(words\r\n)?got words\r\n45 123\r\n$/)
    await tasks.delete({ id: 't' })
  })

  check('no byte of a terminal is lost at the end, however slow the client', async (shim) => {
    const stdout = await shim.fifo('out')
    const bundle = await shim.bundle('t', ['seq', '200000'], { terminal: true })
    const tasks = await launch(shim, bundle, { stdout, terminal: true })
    const lines = (await readFifo(stdout)).split('\r\n')
    assert.equal(lines.length, 200_001)
    assert.equal(lines[199_999], '200000')
    assert.equal((await tasks.wait({ id: 't' })).exitStatus, 0)
    await tasks.delete({ id: 't' })
  })

  check('an exec has a terminal of its own', async (shim) => {
    const tasks = await launch(shim, await shim.bundle('c', ['sleep', '1000']), {})
    const stdout = await shim.fifo('out')
    const output = readFifo(stdout)
    const spec = execSpec('sh', '-c', 'tty; exit 2')
    await tasks.exec({ id: 'c', execId: 'x', stdout, terminal: true, spec })
    await tasks.start({ id: 'c', execId: 'x' })
    assert.equal((await tasks.wait({ id: 'c', execId: 'x' })).exitStatus, 2)
    assert.equal(await output, '/dev/pts/0\r\n')
    await tasks.delete({ id: 'c', execId: 'x' })
  })
})
