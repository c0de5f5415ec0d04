import assert from 'node:assert/strict'
import { appendFileSync, chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { defaultSettings } from '#plugin/settings.ts'
import { codeOf } from '#lib/errors/errors.ts'

import { runProgram } from './run-program.ts'
import { resolveRuntime } from './runtime-binary.ts'
import { type RuntimeSettings } from './settings.ts'
import { ShimVersions, formOfVersion } from './shim-version.ts'

function script(dir: string, name: string, text: string): string {
  const path = join(dir, name)
  writeFileSync(path, `#!/bin/sh\n${text}\n`)
  chmodSync(path, 0o755)
  return path
}

suite('a program', () => {
  const check = (title: string, body: (dir: string, signal: AbortSignal) => Promise<void>) => {
    void test(title, async (t) => {
      await using dir = await mkdtempDisposable(join(tmpdir(), 'program-'))
      await body(dir.path, t.signal)
    })
  }

  check('gets its input and gives its output', async (dir, signal) => {
    const path = script(dir, 'p', 'cat; echo warned >&2; pwd')
    const stdin = Buffer.from('in ')
    const { stdout, stderr } = await runProgram(path, { args: [], cwd: dir, stdin, signal })
    assert.equal(String(stdout), `in ${dir}\n`)
    assert.equal(String(stderr), 'warned\n')
  })

  check('that fails says why and how', async (dir, signal) => {
    const path = script(dir, 'p', 'echo "no such thing" >&2; exit 4')
    await assert.rejects(runProgram(path, { args: [], signal }), {
      message: 'no such thing: exit status 4',
    })
  })

  check('that is not there is an error', async (dir, signal) => {
    await assert.rejects(runProgram(join(dir, 'none'), { args: [], signal }), { code: 'ENOENT' })
  })

  check('is killed when nobody waits for it any more', async (dir) => {
    const path = script(dir, 'p', 'echo $$ > pid; exec sleep 1000')
    const stop = new AbortController()
    const running = runProgram(path, { args: [], cwd: dir, signal: stop.signal })
    setTimeout(() => stop.abort(), 50)
    await assert.rejects(running, (err) => codeOf(err) === 'canceled')
  })

  check('may leave a child that holds its output', async (dir, signal) => {
    const path = script(dir, 'p', 'sleep 5 & echo $!')
    const { stdout } = await runProgram(path, { args: [], signal })
    process.kill(Number(String(stdout)))
  })
})

suite('the version of a shim', () => {
  const cases = {
    'containerd-shim-runc-v2:\n  Version:  1.6.20~ds1\n  Revision: x': 'any',
    'shim:\n  Version:  2.1.9+unknown\n': 'any',
    'shim:\n  Version:  v2.3.0\n': 'params',
    'shim:\n  Version:  2.10.1\n': 'params',
    'shim:\n  Version:  3.0.0\n': 'params',
    'Kata Containers containerd shim (Golang): id: "x", version: 3.2.0': 'any',
  }
  for (const [text, form] of Object.entries(cases)) {
    void test(`${JSON.stringify(text.slice(0, 40))} wants ${form}`, () => {
      assert.equal(formOfVersion(text), form)
    })
  }

  void test('is asked once, and again when the program has changed', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'version-'))
    const asked = join(dir.path, 'asked')
    const path = script(dir.path, 'shim', `echo x >> ${asked}; echo "  Version: 2.1.0"`)
    const versions = new ShimVersions()
    assert.deepEqual(await Promise.all([versions.formOf(path), versions.formOf(path)]), [
      'any',
      'any',
    ])
    assert.equal(readFileSync(asked, 'utf8'), 'x\n')
    appendFileSync(path, 'echo "  Version: 2.3.0"\n')
    assert.equal(await versions.formOf(path), 'any')
    assert.equal(readFileSync(asked, 'utf8'), 'x\nx\n')
  })
})

suite('the name of a runtime', () => {
  const settings = (dir: string, builtinShim: boolean): RuntimeSettings => ({
    root: dir,
    state: dir,
    address: '',
    ttrpcAddress: '',
    socketDir: dir,
    runcRoot: dir,
    serving: Promise.resolve(),
    live: defaultSettings,
    builtinShim,
    isolation: 'namespace' as const,
    hostBinary: join(dir, 'host.mjs'),
    daemonBinary: join(dir, 'wharfd.mjs'),
  })

  void test('means the built-in host, or a program that is found', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'runtime-'))
    const [ours, theirs] = [settings(dir.path, true), settings(dir.path, false)]
    assert.equal(resolveRuntime('io.containerd.runc.v2', ours), ours.hostBinary)
    assert.equal(resolveRuntime('io.containerd.wharf.v1', theirs), ours.hostBinary)
    const beside = script(dir.path, 'containerd-shim-own-v7', '')
    assert.equal(resolveRuntime('com.example.own.v7', ours), beside)
    assert.equal(resolveRuntime(beside, ours), beside)
  })

  void test("that means nothing is told in containerd's words", async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'runtime-'))
    const cases = {
      'io.containerd.foo.v1':
        'runtime "io.containerd.foo.v1" binary not installed "containerd-shim-foo-v1": ' +
        'file does not exist',
      '/none/such': 'invalid custom binary path: stat /none/such: no such file or directory',
      '': 'no runtime name',
    }
    for (const [name, message] of Object.entries(cases)) {
      assert.throws(() => resolveRuntime(name, settings(dir.path, true)), { message })
    }
    for (const name of ['../x', 'runc', '.v2']) {
      assert.throws(
        () => resolveRuntime(name, settings(dir.path, true)),
        /^Error: invalid runtime name/,
      )
    }
  })
})
