import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { create, toBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'

import { connect } from '#client/connect.ts'
import { everyContainerd } from '#testing/containerd.ts'
import { run, startDaemon } from '#testing/daemon.ts'

/* What `wharfd` does besides serving. */

const wharfd = fileURLToPath(new URL('../../bin/wharfd.mjs', import.meta.url))
const command = async (...args: string[]) => await run(process.execPath, [wharfd, ...args])
const timeout = 60_000

void suite('wharfd config', { timeout }, () => {
  void test('prints a default that loads back to itself', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'wharfd-'))
    const file = join(dir.path, 'config.toml')
    const { stdout } = await command('config', 'default')
    await writeFile(file, stdout.replace('/etc/containerd/conf.d', dir.path + '/conf.d'))
    const dump = await command('--config', file, 'config', 'dump')
    assert.equal(dump.stdout, stdout.replace('/etc/containerd/conf.d', dir.path + '/conf.d'))
    assert.equal((await command('-c', file, 'config', 'migrate')).stdout, dump.stdout)
  })

  for (const { version, containerd } of everyContainerd()) {
    void test(`finds nothing wrong in what containerd ${version} prints`, async () => {
      await using dir = await mkdtempDisposable(join(tmpdir(), 'wharfd-'))
      const file = join(dir.path, 'config.toml')
      const { stdout } = await run(containerd, ['config', 'default'])
      await writeFile(file, stdout)
      const { code, stderr } = await command('config', 'check', file)
      assert.deepEqual([code, stderr], [0, ''])
    })
  }

  void test('checks a file and names every unknown key with its line', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'wharfd-'))
    const file = join(dir.path, 'config.toml')
    await writeFile(file, 'version = 2\nrooot = "/a"\n[debug]\nlevle = "info"\n')
    const { code, stderr } = await command('config', 'check', file)
    assert.equal(code, 1)
    assert.match(stderr, /line 2: unknown key rooot; did you mean root\?/)
    assert.match(stderr, /line 4: unknown key debug\.levle; did you mean level\?/)
  })

  void test('explains where a value is from', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'wharfd-'))
    const file = join(dir.path, 'config.toml')
    await writeFile(file, 'version = 2\n[grpc]\naddress = "/x.sock"\n')
    const { stdout } = await command('-c', file, 'config', 'explain', 'grpc.address')
    assert.match(stdout, /^value: +"\/x\.sock"$/m)
    assert.match(stdout, /config\.toml:3, migration of grpc\.address$/m)
  })

  void test('refuses a command and a key that there is not', async () => {
    for (const words of [['config', 'nothing'], ['nothing'], ['config', 'explain', 'nothing']]) {
      const { code, stderr } = await command(...words)
      assert.equal(code, 1)
      assert.match(stderr, /nothing/)
    }
  })
})

void suite('wharfd oci-hook', { timeout }, () => {
  const hooked = async (state: string, ...words: string[]) => {
    const env = { ...process.env, HOOK_ROOT: '{{rootfs}}' }
    const child = spawn(process.execPath, [wharfd, 'oci-hook', ...words], { env })
    child.stdin.end(state)
    const outputs = [text(child.stdout), text(child.stderr), once(child, 'exit')] as const
    const [stdout, stderr, [code]] = await Promise.all(outputs)
    return { stdout, stderr, code: Number(code) }
  }

  void test('becomes the program, with the container in its words and its environment', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'hook-'))
    await writeFile(join(dir.path, 'config.json'), '{"root":{"path":"rootfs"}}')
    const state = JSON.stringify({
      id: 'c1',
      pid: 7,
      status: 'created',
      bundle: dir.path,
      annotations: { k: 'v' },
    })
    const script = 'echo "$0 $@ $HOOK_ROOT"; exit 3'
    const words = ['/bin/sh', '-c', script, '{{id}}', '--pid={{pid}}', '{{annotation "k"}}']
    assert.deepEqual(await hooked(state, ...words), {
      stdout: `c1 --pid=7 v ${dir.path}/rootfs\n`,
      stderr: '',
      code: 3,
    })
    assert.equal((await hooked(state, '--', ...words)).code, 3)
    assert.match((await hooked(state)).stderr, /needs a program to run: invalid argument/)
    assert.match((await hooked(state, '/none')).stderr, /\/none/)
    assert.match((await hooked('{', '/bin/true')).stderr, /the state of the container: /)
  })
})

void suite('wharfd publish', { skip: process.getuid?.() !== 0, timeout }, () => {
  const publish = async (input: Uint8Array, ...args: string[]) => {
    const child = spawn(process.execPath, [wharfd, ...args])
    child.stdin.end(input)
    const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')])
    return { code: Number(code), stderr }
  }
  const typeUrl = 'containerd.events.TaskOOM'
  const value = new Uint8Array([10, 1, 120])
  const event = toBinary(AnySchema, create(AnySchema, { typeUrl, value }))

  void test('publishes the event on standard input', async () => {
    await using daemon = await startDaemon()
    await using client = await connect(daemon.address)
    const stop = new AbortController()
    const events = client.events([], { signal: stop.signal })[Symbol.asyncIterator]()
    const next = events.next()
    const flags = ['--address', daemon.address, 'publish', '--namespace', 'testing']
    assert.deepEqual(await publish(event, ...flags, '--topic', '/tasks/oom'), {
      code: 0,
      stderr: '',
    })
    const { value: envelope } = await next
    assert.deepEqual([envelope?.topic, envelope?.namespace], ['/tasks/oom', 'testing'])
    stop.abort()
    assert.match((await publish(event, ...flags)).stderr, /topic required to publish event/)
    const bad = await publish(new Uint8Array([255]), ...flags, '--topic', '/a')
    assert.match(bad.stderr, /the event is not an encoded Any/)
  })
})
