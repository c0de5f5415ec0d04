import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'

import { readLog } from '#client/logs/read-log.ts'
import { parseEntry } from '#core/logs/json-file.ts'
import { ShimFixture, execSpec, fails, launch } from '#shim/test-host.ts'
import { root } from '#testing/root.ts'

const check = (title: string, body: (shim: ShimFixture) => Promise<void>): void => {
  test(title, { timeout: 60_000 }, async (t: TestContext) => {
    if (!root(t)) return
    await using shim = await ShimFixture.open()
    await body(shim)
  })
}

/** Writes a logger in shell, which begins with `first`, and gives its URI and where it writes. */
function logger(shim: ShimFixture, scheme: string, first: string): { uri: string; log: string } {
  const [path, log] = [join(shim.dir, 'logger'), join(shim.dir, 'log')]
  writeFileSync(path, `#!/bin/sh\n${first}\n{ cat <&3; cat <&4; } > ${log}\n`, { mode: 0o755 })
  return { uri: `${scheme}://${path}`, log }
}

const entriesOf = (path: string): (string | undefined)[] =>
  readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => parseEntry(line)?.log)

suite('output that is logged', () => {
  check('the driver json-file writes lines with stream and time', async (shim) => {
    const path = join(shim.dir, 'logs/c.log')
    const uri = `json-file://${path}`
    const bundle = await shim.bundle('c', ['sh', '-c', 'echo out; echo err >&2; printf end'])
    const before = Date.now()
    const tasks = await launch(shim, bundle, { stdout: uri, stderr: uri })
    assert.equal((await tasks.state({ id: 'c' })).stdout, uri)
    await tasks.wait({ id: 'c' })
    await tasks.delete({ id: 'c' })
    const entries = await Array.fromAsync(readLog(path))
    const of = (name: string): string[] =>
      entries.filter(({ stream }) => stream === name).map(({ log }) => log)
    assert.deepEqual([of('stdout'), of('stderr')], [['out\n', 'end'], ['err\n']])
    for (const { time } of entries) {
      assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/)
      assert.ok(Date.parse(time) >= before && Date.parse(time) <= Date.now())
    }
  })

  check('no line is lost through rotation, with a reader that follows', async (shim) => {
    const path = join(shim.dir, 'c.log')
    const uri = `json-file://${path}?max-size=200k&max-file=1000`
    const bundle = await shim.bundle('c', ['seq', '50000'])
    const tasks = await shim.connect(bundle)
    await tasks.create({ ...bundle.request, stdout: uri })
    const following = Array.fromAsync(readLog(path, { follow: true }))
    await tasks.start({ id: 'c' })
    await tasks.wait({ id: 'c' })
    const lines = (await following).map(({ log }) => Number(log))
    assert.equal(lines.length, 50_000)
    assert.ok(lines.every((line, n) => line === n + 1))
  })

  check('a terminal, and an exec, are logged too', async (shim) => {
    const [path, other] = [join(shim.dir, 't.log'), join(shim.dir, 'x.log')]
    const bundle = await shim.bundle('t', ['sh', '-c', 'tty; sleep 1000'], { terminal: true })
    const tasks = await launch(shim, bundle, { stdout: `json-file://${path}`, terminal: true })
    const spec = execSpec('sh', '-c', 'echo in exec')
    await tasks.exec({ id: 't', execId: 'x', stdout: `json-file://${other}`, spec })
    await tasks.start({ id: 't', execId: 'x' })
    await tasks.wait({ id: 't', execId: 'x' })
    await tasks.delete({ id: 't', execId: 'x' })
    assert.deepEqual(entriesOf(other), ['in exec\n'])
    await tasks.kill({ id: 't', signal: 9 })
    await tasks.wait({ id: 't' })
    await tasks.delete({ id: 't' })
    assert.deepEqual(entriesOf(path), ['/dev/pts/0\r\n'])
  })

  check('two containers do not write to one log, and each error says why', async (shim) => {
    const uri = `json-file://${join(shim.dir, 'c.log')}`
    const tasks = await launch(shim, await shim.bundle('c', ['sleep', '1000']), { stdout: uri })
    const { request } = await shim.bundle('d', ['true'])
    const refused = [
      [{ stdout: uri }, 'failed_precondition', /c\.log is written to by somebody else/],
      [{ stdout: `${uri}?max-size=x` }, 'invalid_argument', /max-size must be like 10m/],
      [
        { stdout: uri, stderr: '/x' },
        'invalid_argument',
        /stderr "\/x" is not logged where stdout is/,
      ],
      [{ stdout: '', stderr: uri }, 'invalid_argument', /and stdout does not/],
    ] as const
    for (const [streams, code, message] of refused) {
      await fails(tasks.create({ ...request, ...streams }), code, message)
    }
    await tasks.create(request)
  })

  check('a logger of the second version must say that it is ready', async (shim) => {
    const good = logger(shim, 'binary-v2', 'echo >&5; exec 5>&-')
    const bundle = await shim.bundle('c', ['sh', '-c', 'echo out; echo err >&2'])
    const tasks = await launch(shim, bundle, { stdout: good.uri, stderr: good.uri })
    await tasks.wait({ id: 'c' })
    await tasks.delete({ id: 'c' })
    assert.equal(readFileSync(good.log, 'utf8'), 'out\nerr\n')
    const { uri: silent } = logger(shim, 'binary-v2', 'exec 5>&-')
    await fails(
      tasks.create({ ...bundle.request, stdout: silent, stderr: silent }),
      'unknown',
      /is not ready: it closed file descriptor 5 without writing to it, or has ended/,
    )
    const { uri: old } = logger(shim, 'binary', 'exec 5>&-')
    await tasks.create({ ...bundle.request, stdout: old, stderr: old })
  })

  check('a terminal goes to a logger, and to a file', async (shim) => {
    const { uri, log } = logger(shim, 'binary', 'exec 5>&-')
    const bundle = await shim.bundle('t', ['seq', '30000'], { terminal: true })
    const tasks = await launch(shim, bundle, { stdout: uri, terminal: true })
    await tasks.wait({ id: 't' })
    await tasks.delete({ id: 't' })
    assert.equal(readFileSync(log, 'utf8').split('\r\n').length, 30_001)
    const path = join(shim.dir, 'plain.log')
    const again = await shim.bundle('u', ['seq', '30000'], { terminal: true })
    await launch(shim, again, { stdout: `file://${path}`, terminal: true })
    await tasks.wait({ id: 'u' })
    await tasks.delete({ id: 'u' })
    assert.equal(readFileSync(path, 'utf8').split('\r\n').length, 30_001)
  })
})
