import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Context } from '#core/context.ts'
import { Task } from '#gen/shim/task-v3_pb.ts'
import { type Call, implement } from '#lib/rpc/rpc.ts'
import { type TtrpcServer, listenTtrpc } from '#lib/ttrpc/server.ts'
import { newContext } from '#testing/context.ts'

import { Connections } from './connections.ts'
import { Hosts, type Started } from './hosts.ts'

/** A host in this process: it counts, and ends when it is asked to. */
class FakeHost implements AsyncDisposable {
  starts = 0
  shutdowns = 0
  readonly #path: string
  #server: TtrpcServer | undefined

  constructor(path: string) {
    this.#path = path
  }

  readonly start = async (): Promise<Started> => {
    this.starts++
    await sleep(5)
    const service = implement<Call, typeof Task>(Task, {
      shutdown: () => {
        this.shutdowns++
        setImmediate(() => void this[Symbol.asyncDispose]())
        return {}
      },
    })
    const options = { services: [service], context: (call: Call) => call, stopMs: 100 }
    this.#server = await listenTtrpc({ path: this.#path }, options)
    return { endpoint: { version: 3, address: `unix://${this.#path}`, protocol: 'ttrpc' } }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]()
  }
}

const check = (
  title: string,
  lingerMs: number,
  body: (ctx: Context, hosts: Hosts, host: FakeHost) => Promise<void>,
): void => {
  void test(title, { timeout: 20_000 }, async (t) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'hosts-'))
    await using host = new FakeHost(join(dir.path, 'sock'))
    await using hosts = new Hosts(new Connections(), lingerMs)
    await body(newContext(t), hosts, host)
  })
}

suite('the host of a namespace', () => {
  check('is started once for many who come together', 60_000, async (ctx, hosts, host) => {
    const joins = Array.from({ length: 5 }, () => hosts.join(ctx, 'ns', host.start))
    const members = await Promise.all(joins)
    assert.equal(host.starts, 1)
    for (const member of members) await member[Symbol.asyncDispose]()
  })

  check('stays for the next one', 60_000, async (ctx, hosts, host) => {
    await using first = await hosts.join(ctx, 'ns', host.start)
    await first[Symbol.asyncDispose]()
    await using _second = await hosts.join(ctx, 'ns', host.start)
    assert.deepEqual([host.starts, host.shutdowns], [1, 0])
  })

  check('ends when nobody comes, and is started again', 1, async (ctx, hosts, host) => {
    const first = await hosts.join(ctx, 'ns', host.start)
    await first[Symbol.asyncDispose]()
    while (host.shutdowns === 0) await sleep(5)
    await using _second = await hosts.join(ctx, 'ns', host.start)
    assert.deepEqual([host.starts, host.shutdowns], [2, 1])
  })

  check('that is lost is started again', 60_000, async (ctx, hosts, host) => {
    await using _first = await hosts.join(ctx, 'ns', host.start)
    await host[Symbol.asyncDispose]()
    // The news takes a moment to arrive.
    while (host.starts === 1) {
      await using _again = await hosts.join(ctx, 'ns', host.start)
      await sleep(1)
    }
    assert.equal(host.starts, 2)
  })

  check('that does not start fails one, and the next tries', 60_000, async (ctx, hosts, host) => {
    const failing = hosts.join(ctx, 'ns', async () => {
      await sleep(5)
      throw new Error('no memory')
    })
    const waiting = hosts.join(ctx, 'ns', host.start)
    await assert.rejects(failing, { message: 'no memory' })
    await using _member = await waiting
    assert.equal(host.starts, 1)
  })

  check('is not waited for by one who leaves', 60_000, async (ctx, hosts, host) => {
    const opening = hosts.join(ctx, 'ns', host.start)
    const stop = new AbortController()
    const leaving = hosts.join({ ...ctx, signal: stop.signal }, 'ns', host.start)
    stop.abort()
    await assert.rejects(leaving, { name: 'AbortError' })
    await using _member = await opening
  })

  void test('is left alone at the end while it has containers, and ended when not', async (t) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'hosts-'))
    await using busy = new FakeHost(join(dir.path, 'busy'))
    await using idle = new FakeHost(join(dir.path, 'idle'))
    const hosts = new Hosts(new Connections(), 60_000)
    const ctx = newContext(t)
    const kept = await hosts.join(ctx, 'busy', busy.start)
    const left = await hosts.join(ctx, 'idle', idle.start)
    await left[Symbol.asyncDispose]()
    await hosts[Symbol.asyncDispose]()
    await kept[Symbol.asyncDispose]()
    assert.deepEqual([busy.shutdowns, idle.shutdowns], [0, 1])
  })
})
