import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempDisposableSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'

import { fromBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'

import { writeBlob } from '#core/content/write-blob.ts'
import type { Context } from '#core/context.ts'
import type { StreamProcessor } from '#core/diff/processors.ts'
import type { Descriptor } from '#core/images/images.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { LocalStore } from '#plugins/content/local/local-store.ts'
import { newContext } from '#testing/context.ts'
import { root } from '#testing/root.ts'

import { type ProcessingOptions, WalkingDiffer } from './differ.ts'

const plain = 'application/vnd.oci.image.layer.v1.tar'
const gzip = `${plain}+gzip`

/** A processor whose program is a shell script. */
const script = (id: string, accepts: string, returns: string, text: string): StreamProcessor => ({
  id,
  accepts: [accepts],
  returns,
  path: 'sh',
  args: ['-c', text],
  env: [],
})

interface Given {
  readonly ctx: Context
  /** Scratch space. */
  readonly dir: string
  /** An archive with one file, `f`. */
  readonly tar: Buffer
  /** Unpacks `bytes` as `mediaType` into `target`. */
  readonly apply: (
    bytes: Uint8Array,
    mediaType: string,
    options: ProcessingOptions & { readonly payload?: string; readonly signal?: AbortSignal },
  ) => Promise<Descriptor>
  /** What the unpacked `f` says. */
  readonly unpacked: () => string
}

async function processing(t: TestContext, body: (given: Given) => Promise<void>): Promise<void> {
  if (!root(t)) return
  await using stack = new AsyncDisposableStack()
  const ctx = newContext(t)
  const { path: dir } = stack.use(mkdtempDisposableSync(join(tmpdir(), 'processed-')))
  const [tempDir, target, source] = ['mounts', 'target', 'source'].map((name) => {
    mkdirSync(join(dir, name))
    return join(dir, name)
  })
  assert.ok(tempDir && target && source)
  writeFileSync(join(source, 'f'), 'content')
  const tar = execFileSync('tar', ['-C', source, '-cf', '-', 'f'])
  const store = stack.use(LocalStore.open(ctx, join(dir, 'content')))
  const given: Given = {
    ctx,
    dir,
    tar,
    async apply(bytes, mediaType, options) {
      const digest = digestOf(bytes)
      await writeBlob(ctx, store, [bytes], { ref: digest, digest })
      await using differ = new WalkingDiffer(store, {
        tempDir,
        workers: 1,
        processing: () => options,
      })
      const blob = { mediaType, digest, size: bytes.length }
      const mounts = [{ type: 'bind', source: target, options: ['rbind', 'rw'] }]
      const { signal = ctx.signal, payload } = options
      const value = Buffer.from(payload ?? '')
      const payloads = payload === undefined ? {} : { p: { typeUrl: 'text', value } }
      return await differ.apply({ ...ctx, signal }, blob, mounts, { payloads })
    },
    unpacked: () => readFileSync(join(target, 'f'), 'utf8'),
  }
  await body(given)
}

test('a layer goes from processor to processor until its type is known', async (t) => {
  await processing(t, async ({ tar, apply, unpacked }) => {
    const processors = [
      script('outer', 'x/rot+squeezed', 'x/squeezed', 'tr n-za-m a-z </dev/stdin'),
      script('inner', 'x/squeezed', gzip, 'base64 -d'),
    ]
    const squeezed = gzipSync(tar).toString('base64')
    const input = execFileSync('tr', ['a-z', 'n-za-m'], { input: squeezed })
    const made = await apply(input, 'x/rot+squeezed', { processors })
    assert.deepEqual(made, { mediaType: plain, digest: digestOf(tar), size: tar.length })
    assert.equal(unpacked(), 'content')
  })
})

test('a program gets its payload on descriptor 3, and its environment', async (t) => {
  await processing(t, async ({ dir, tar, apply }) => {
    const text = `cat /dev/fd/3 >${dir}/payload; echo $A $STREAM_PROCESSOR_MEDIATYPE >${dir}/env; cat`
    const processors = [{ ...script('p', 'x/y', plain, text), env: ['A=b=c'] }]
    await apply(tar, 'x/y', { processors, payload: 'secret' })
    const any = fromBinary(AnySchema, readFileSync(join(dir, 'payload')))
    assert.deepEqual([any.typeUrl, String(Buffer.from(any.value))], ['text', 'secret'])
    assert.equal(readFileSync(join(dir, 'env'), 'utf8'), 'b=c x/y\n')
  })
})

test('without a payload descriptor 3 is closed', async (t) => {
  await processing(t, async ({ tar, apply }) => {
    const processors = [script('p', 'x/y', plain, '[ -e /dev/fd/3 ] && exit 1; exec cat')]
    await apply(tar, 'x/y', { processors })
  })
})

test('a processor comes before what the differ knows itself, and is used once', async (t) => {
  await processing(t, async ({ dir, tar, apply }) => {
    const looks = script('look', gzip, gzip, `tee ${dir}/seen`)
    await apply(gzipSync(tar), gzip, { processors: [looks] })
    assert.ok(readFileSync(join(dir, 'seen')).equals(gzipSync(tar)))
  })
})

test('of two that take a type the later one is used', async (t) => {
  await processing(t, async ({ tar, apply }) => {
    const processors = [script('a', 'x/y', plain, 'exit 1'), script('b', 'x/y', plain, 'cat')]
    await apply(tar, 'x/y', { processors })
  })
})

const bad: readonly (readonly [string, Partial<StreamProcessor>, string])[] = [
  [
    'is missing',
    { path: 'no-such-program' },
    'exec: "no-such-program": executable file not found in $PATH',
  ],
  ['is missing at its path', { path: '/no/such' }, 'fork/exec /no/such: no such file or directory'],
  ['fails', { args: ['-c', 'echo wrong key >&2; exit 3'] }, 'exit status 3: wrong key'],
  ['fails at the end', { args: ['-c', 'cat; echo late >&2; exit 4'] }, 'exit status 4: late'],
  ['is killed', { args: ['-c', 'kill -9 $$'] }, 'killed by SIGKILL'],
  ['makes no archive', { args: ['-c', 'yes'] }, 'makes a bad layer: '],
  [
    'writes for ever',
    { args: ['-c', 'cat; cat /dev/zero'] },
    'makes a bad layer: goes on for ever after the end of the archive',
  ],
  ['writes half', { args: ['-c', 'head -c 700'] }, 'makes a bad layer: '],
]

for (const [what, difference, reason] of bad) {
  test(`a processor that ${what} is named`, async (t) => {
    await processing(t, async ({ tar, apply }) => {
      const processors = [{ ...script('p', 'x/y', plain, ''), ...difference }]
      await assert.rejects(apply(tar, 'x/y', { processors }), (err: Error) => {
        assert.ok(err.message.startsWith(`stream processor "p": ${reason}`), err.message)
        return true
      })
    })
  })
}

/** Far more than anything here takes on a machine that is busy, ms. */
const longest = 30_000

/** Waits until `met`. @throws when it takes far too long. */
async function until(what: string, met: () => boolean): Promise<void> {
  const deadline = performance.now() + longest
  while (!met()) {
    if (performance.now() > deadline) assert.fail(`not in ${longest} ms: ${what}`)
    await sleep(5)
  }
}

/** Waits until the process whose id is in `file` has ended; nobody may have reaped it. */
async function gone(file: string): Promise<void> {
  const pid = readFileSync(file, 'utf8').trim()
  await until(`process ${pid} ends`, () => {
    try {
      return readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ')
    } catch {
      return true
    }
  })
}

test('a processor that makes nothing is killed with its children, and named', async (t) => {
  await processing(t, async ({ dir, tar, apply }) => {
    const text = `sleep 1000 & echo $! >${dir}/pid; wait`
    const processors = [script('p', 'x/y', plain, text)]
    await assert.rejects(apply(tar, 'x/y', { processors, idleMs: 200 }), {
      message: 'stream processor "p": made nothing for 200 ms, and was killed',
    })
    await gone(join(dir, 'pid'))
  })
})

test('a cancelled unpacking ends its processors', async (t) => {
  await processing(t, async ({ dir, tar, apply }) => {
    const processors = [
      script('p', 'x/y', plain, `sleep 1000 & echo $! >${dir}/p; mv ${dir}/p ${dir}/pid; wait`),
    ]
    const stop = new AbortController()
    const applying = apply(tar, 'x/y', { processors, signal: stop.signal })
    let ended = false
    const failing = assert.rejects(
      applying.finally(() => {
        ended = true
      }),
      (err) => err === stop.signal.reason,
    )
    await Promise.race([
      failing,
      until('the processor starts', () => ended || existsSync(join(dir, 'pid'))),
    ])
    assert.ok(!ended, 'the unpacking ended before it was cancelled')
    stop.abort()
    await failing
    await gone(join(dir, 'pid'))
  })
})

test('an unpacking that is cancelled at any moment of its start ends', async (t) => {
  await processing(t, async ({ dir, tar, apply }) => {
    const processors = [script('p', 'x/y', plain, `echo $$ >>${dir}/pids; exec sleep 1000`)]
    for (const delay of [0, 1, 2, 5, 10, 20, 40, 80, 120, 160]) {
      const stop = new AbortController()
      const applying = apply(tar, 'x/y', { processors, signal: stop.signal })
      const failing = assert.rejects(applying, (err) => err === stop.signal.reason)
      const timer = setTimeout(() => stop.abort(), delay)
      try {
        await failing
      } finally {
        clearTimeout(timer)
      }
    }
    if (!existsSync(join(dir, 'pids'))) return
    for (const pid of readFileSync(join(dir, 'pids'), 'utf8').trim().split('\n')) {
      writeFileSync(join(dir, 'pid'), pid)
      await gone(join(dir, 'pid'))
    }
  })
})
