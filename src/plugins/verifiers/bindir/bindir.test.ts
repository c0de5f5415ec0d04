import assert from 'node:assert/strict'
import { chmod, mkdtempDisposable, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Candidate, Judgement } from '#core/verification/verification.ts'
import { RegistryClient } from '#core/remotes/client.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { describe } from '#lib/errors/errors.ts'
import { newContext, recordingLogger } from '#testing/context.ts'
import { eventually } from '#testing/eventually.ts'

import { BinDirVerifier, type BinDirSettings } from './bindir.ts'

const target = {
  mediaType: 'application/vnd.oci.image.manifest.v1+json',
  digest: digestOf('image'),
  size: 5,
  annotations: { a: 'b' },
}

interface Given {
  readonly ctx: Context
  /** A directory for programs, and one beside it for what they write. */
  readonly dir: string
  readonly notes: string
  /** What was logged. */
  readonly lines: readonly string[]
  readonly program: (name: string, script: string) => Promise<void>
  readonly verify: (settings?: Partial<BinDirSettings>, signal?: AbortSignal) => Promise<Judgement>
}

/** A directory of shell scripts. */
async function given(t: TestContext, body: (given: Given) => Promise<void>): Promise<void> {
  await using bin = await mkdtempDisposable(join(tmpdir(), 'verifiers-'))
  await using beside = await mkdtempDisposable(join(tmpdir(), 'verified-'))
  await using remotes = new RegistryClient()
  const lines: string[] = []
  const ctx = { ...newContext(t), log: recordingLogger(lines) }
  const name = 'registry.example/app:1'
  const candidate: Candidate = { name, names: [name], target, remotes }
  await body({
    ctx,
    dir: bin.path,
    notes: beside.path,
    lines,
    async program(file, script) {
      await writeFile(join(bin.path, file), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
    },
    async verify(settings = {}, signal = ctx.signal) {
      const all = { binDir: bin.path, maxVerifiers: 10, timeoutMs: 20_000, failClosed: false }
      return await new BinDirVerifier({ ...all, ...settings }).verify({ ...ctx, signal }, candidate)
    },
  })
}

/** Fails unless it rejects with a message that matches. */
const rejects = async (promise: Promise<unknown>, message: RegExp): Promise<void> =>
  await assert.rejects(promise, (err) => {
    assert.match(describe(err), message)
    return true
  })

/** Waits until the process whose id is in `file` is there, or has gone. */
const becomes = async (state: 'alive' | 'gone', file: string): Promise<unknown> =>
  await eventually(async () => {
    const alive = await isAlive(file).catch(() => undefined)
    return alive === (state === 'alive') || undefined
  })

async function isAlive(file: string): Promise<boolean> {
  const pid = (await readFile(file, 'utf8')).trim()
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  return stat !== undefined && !/\) Z /.test(stat)
}

suite('a directory of image verifiers', () => {
  test('each is asked in the order of names, and told what containerd tells', async (t) => {
    await given(t, async ({ notes, program, verify }) => {
      await program('b', `echo "$@" > ${notes}/args; cat > ${notes}/in; echo ' fine '`)
      await program('a', 'echo first')
      assert.deepEqual(await verify(), { ok: true, reason: 'a => first, b => fine' })
      const args = await readFile(join(notes, 'args'), 'utf8')
      const type = 'application/vnd.oci.descriptor.v1+json'
      const expected = `-name registry.example/app:1 -digest ${target.digest} -stdin-media-type ${type}\n`
      assert.equal(args, expected)
      assert.deepEqual(JSON.parse(await readFile(join(notes, 'in'), 'utf8')), target)
    })
  })

  test('one that says no ends it, with its reason', async (t) => {
    await given(t, async ({ notes, program, verify }) => {
      await program('a', 'echo never seen it; exit 3')
      await program('b', `touch ${notes}/asked`)
      assert.deepEqual(await verify(), {
        ok: false,
        reason: 'verifier a rejected image (exit code 3): never seen it',
      })
      await assert.rejects(readFile(join(notes, 'asked')))
    })
  })

  test('standard input can be opened by its path', async (t) => {
    await given(t, async ({ program, verify }) => {
      await program('a', 'wc -c < /dev/stdin > /dev/stdout')
      const { reason } = await verify()
      assert.equal(reason, `a => ${JSON.stringify(target).length + 1}`)
    })
  })

  test('one that closes its standard input is heard', async (t) => {
    await given(t, async ({ program, verify }) => {
      await program('a', 'exec <&-; echo deaf')
      assert.deepEqual(await verify(), { ok: true, reason: 'a => deaf' })
    })
  })

  test('of a flood on both streams a bounded part is kept, and it does not block', async (t) => {
    await given(t, async ({ lines, program, verify }) => {
      const flood = 'head -c 3000000 /dev/zero | tr "\\0" x'
      await program('a', `${flood}; (${flood}) >&2`)
      const { ok, reason } = await verify()
      assert.ok(ok)
      assert.equal(reason, `a => ${'x'.repeat(32 * 1024)}(stdout truncated)`)
      assert.ok(lines.join('').length < 40_000)
    })
  })

  test('what it complains of is logged', async (t) => {
    await given(t, async ({ lines, program, verify }) => {
      await program('a', 'echo one >&2; echo two >&2')
      await verify()
      assert.deepEqual(lines, ['debug one', 'debug two'])
    })
  })

  test('one that hangs is killed with its children, and the image refused', async (t) => {
    await given(t, async ({ notes, program, verify }) => {
      await program('a', `sleep 600 & echo $! > ${notes}/child; echo $$ > ${notes}/self; wait`)
      await rejects(
        verify({ timeoutMs: 1500 }),
        /^failed to call verifier a \(runtime [\d.]+s\): no answer within per_verifier_timeout, 1500 ms/,
      )
      for (const file of ['self', 'child']) {
        await becomes('gone', join(notes, file))
      }
    })
  })

  test('one that says yes and leaves a child with its output is no answer either', async (t) => {
    await given(t, async ({ notes, program, verify }) => {
      await program('a', `sleep 600 & echo $! > ${notes}/child; echo yes; exit 0`)
      await rejects(verify({ timeoutMs: 1500 }), /per_verifier_timeout/)
      await becomes('gone', join(notes, 'child'))
    })
  })

  test('whoever does not want to know any more ends it', async (t) => {
    await given(t, async ({ notes, program, verify }) => {
      await program('a', `echo $$ > ${notes}/self; exec sleep 600`)
      const gone = new AbortController()
      const asked = verify({}, gone.signal)
      await becomes('alive', join(notes, 'self'))
      gone.abort(new Error('the caller has gone'))
      await rejects(asked, /the caller has gone/)
      await becomes('gone', join(notes, 'self'))
    })
  })

  test('one that is killed, cannot be executed, or is no program refuses the image', async (t) => {
    await given(t, async ({ dir, program, verify }) => {
      await program('a', 'kill -9 $$')
      await rejects(
        verify(),
        /^failed to call verifier a .*waiting on command to exit: signal: SIGKILL/,
      )
      await chmod(join(dir, 'a'), 0o644)
      await rejects(verify(), /^failed to call verifier a .*EACCES/)
      await writeFile(join(dir, 'a'), '#!/no/such/interpreter\n')
      await chmod(join(dir, 'a'), 0o755)
      await rejects(verify(), /^failed to call verifier a /)
    })
  })

  test('without programs everything may be pulled, unless it fails closed', async (t) => {
    await given(t, async ({ dir, verify }) => {
      const binDir = join(dir, 'none')
      assert.deepEqual(await verify(), {
        ok: true,
        reason: `no image verifier binaries found in ${dir}`,
      })
      assert.deepEqual(await verify({ binDir }), {
        ok: true,
        reason: `image verifier directory ${binDir} does not exist`,
      })
      for (const settings of [{ failClosed: true }, { failClosed: true, binDir }]) {
        const { ok, reason } = await verify(settings)
        assert.ok(!ok)
        assert.match(reason, /fail_closed/)
      }
    })
  })

  test('of more than the limit the first are asked, or none when it fails closed', async (t) => {
    await given(t, async ({ lines, program, verify }) => {
      await program('a', 'echo yes')
      await program('b', 'exit 1')
      assert.deepEqual(await verify({ maxVerifiers: 1 }), { ok: true, reason: 'a => yes' })
      assert.match(lines.join(), /^warn image verifiers are being skipped/)
      assert.deepEqual((await verify({ maxVerifiers: 0 })).ok, true)
      assert.deepEqual((await verify({ maxVerifiers: 1, failClosed: true })).ok, false)
      assert.deepEqual((await verify({ maxVerifiers: -1 })).ok, false)
    })
  })

  test('a directory that cannot be read refuses the image', async (t) => {
    await given(t, async ({ dir, verify }) => {
      await writeFile(join(dir, 'file'), '')
      await rejects(verify({ binDir: join(dir, 'file') }), /failed to list directory contents/)
    })
  })
})
