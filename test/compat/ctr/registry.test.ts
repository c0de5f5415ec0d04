import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { busyboxImage, busyboxLayer } from '#testing/image.ts'

import { sideBySide } from './pair.ts'

/** Debian's docker-registry on a free loopback port, with a scratch directory. */
class Registry implements AsyncDisposable {
  readonly host: string
  readonly #dir: string
  readonly #child: ChildProcess

  private constructor(host: string, dir: string, child: ChildProcess) {
    this.host = host
    this.#dir = dir
    this.#child = child
  }

  static async open(): Promise<Registry> {
    const port = await freePort()
    const dir = await mkdtemp(join(tmpdir(), 'registry-'))
    const host = `127.0.0.1:${port}`
    const config = join(dir, 'config.yml')
    await writeFile(
      config,
      `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${dir}/data}}\nhttp: {addr: "${host}"}\n`,
    )
    const child = spawn('docker-registry', ['serve', config], { stdio: 'ignore' })
    const registry = new Registry(host, dir, child)
    for (let i = 0; i < 100; i++) {
      const up = await fetch(`http://${host}/v2/`).catch(() => undefined)
      if (up?.ok) return registry
      await sleep(100)
    }
    await registry[Symbol.asyncDispose]()
    throw new Error('docker-registry does not answer')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exited = once(this.#child, 'exit')
    this.#child.kill()
    await exited
    await rm(this.#dir, { recursive: true, force: true })
  }
}

async function freePort(): Promise<number> {
  await using server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return typeof address === 'object' && address ? address.port : 0
}

sideBySide('a registry', (pair) => {
  let registry: Registry | undefined
  before(async () => {
    registry = await Registry.open()
  })
  after(async () => {
    await registry?.[Symbol.asyncDispose]()
  })

  test('images are pushed, pulled back, and run', async () => {
    const p = pair()
    const name = `${registry?.host}/library/two-layers:1`
    await p.import({
      ...busyboxImage(name),
      layers: [busyboxLayer, { hello: 'from the registry\n' }],
    })
    const plain = ['--plain-http', ...p.local]
    await p.same(['image', 'push', ...plain, name], { codeOnly: true })
    await p.same(['image', 'rm', '--sync', name])
    assert.equal((await p.ctr('content', 'ls', '-q')).stdout, '')
    await p.same(['image', 'pull', ...plain, name], { codeOnly: true })
    await p.same(['image', 'ls'])
    await p.same(['content', 'ls', '-q'])
    await p.same(['image', 'check'])
    await p.same(['snapshot', 'ls'])
    await p.same(['run', '--rm', name, 'p1', 'cat', '/hello'])
    await p.same(['image', 'pull', ...plain, name], { codeOnly: true })
  })

  test('an unknown image is refused with the same words', async () => {
    const p = pair()
    const name = `${registry?.host}/library/missing:1`
    await p.same(['image', 'pull', '--plain-http', ...p.local, name], { stderr: true })
  })
})
