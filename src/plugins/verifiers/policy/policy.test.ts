import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test, type TestContext } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { ImageVerifier, Judgement } from '#core/verification/verification.ts'
import { untilAborted } from '#lib/async/until-aborted.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { defaultSettings } from '#plugin/settings.ts'
import { newContext, recordingLogger } from '#testing/context.ts'
import { MemoryRegistry } from '#testing/memory-registry.ts'
import { rejectsWith } from '#testing/rejects.ts'
import { newKeys, signBytes, simpleSigning, writePublicKey } from '#testing/signers.ts'

import { defaultPolicy, policyPlugin, PolicyPlugin, type PolicyConfig } from './plugin.ts'
import { VerifiedImages } from './verified-images.ts'

const repository = 'registry.example/team/app'
const name = `${repository}:1`
const keys = newKeys.p256()

interface Given {
  readonly ctx: Context
  readonly dir: string
  readonly lines: readonly string[]
  readonly registry: MemoryRegistry
  readonly target: Descriptor
  /** Rules that ask for a signature of `repository` by the key in `dir`. */
  readonly rules: readonly object[]
  readonly start: (config?: Partial<PolicyConfig>) => Promise<PolicyPlugin>
  readonly verify: (verifier: ImageVerifier, ...names: readonly string[]) => Promise<Judgement>
}

/** An image that is signed for `repository`. */
async function given(t: TestContext, body: (given: Given) => Promise<void>): Promise<void> {
  await using temporary = await mkdtempDisposable(join(tmpdir(), 'policy-'))
  const dir = temporary.path
  const lines: string[] = []
  const ctx = { ...newContext(t), log: recordingLogger(lines) }
  const registry = new MemoryRegistry()
  const target = registry.putJson({ schemaVersion: 2, layers: [] })
  const payload = simpleSigning({ digest: target.digest, repository })
  const layer = {
    ...registry.put(payload, 'application/vnd.dev.cosign.simplesigning.v1+json'),
    annotations: {
      'dev.cosignproject.cosign/signature': signBytes(payload, keys).toString('base64'),
    },
  }
  const tag = `${target.digest.replace(':', '-')}.sig`
  registry.tags.set(`${repository}:${tag}`, registry.putJson({ layers: [layer] }))
  const path = writePublicKey(dir, 'cosign.pub', keys)
  await body({
    ctx,
    dir,
    lines,
    registry,
    target,
    rules: [{ images: ['registry.example/**'], type: 'cosign', keys: [path] }],
    async start(config = {}) {
      const daemon = {
        root: '',
        state: '',
        address: '',
        ttrpcAddress: '',
        serving: Promise.resolve(),
      }
      const made = await policyPlugin.init({
        ctx,
        config: { ...defaultPolicy, ...config },
        rootDir: dir,
        stateDir: dir,
        meta: { platforms: [], capabilities: [], exports: {} },
        daemon: { ...daemon, settings: defaultSettings, plugins: () => [] },
        deps: {},
      })
      assert.ok(made instanceof PolicyPlugin)
      return made
    },
    verify: async (verifier, ...names) =>
      await verifier.verify(ctx, { name: names[0] ?? name, names, target, remotes: registry }),
  })
}

const reloaded = async (verifier: unknown, config: Partial<PolicyConfig>, { ctx }: Given) => {
  await policyPlugin.reload(verifier, { ...defaultPolicy, ...config }, ctx)
}

suite('the image policy of a daemon', () => {
  test('without rules nothing is asked', async (t) => {
    await given(t, async ({ start, registry, verify }) => {
      registry.fault = new Error('nobody asks a registry')
      const verifier = await start()
      assert.ok((await verify(verifier)).ok)
      assert.ok((await verifier.admit({ ...newContext(t) }, 'x', descriptor('x'))).ok)
    })
  })

  test('what is signed may be pulled, under the name that it is signed for', async (t) => {
    await given(t, async ({ start, rules, verify }) => {
      const verifier = await start({ rules })
      assert.deepEqual((await verify(verifier)).ok, true)
      const { ok, reason } = await verify(verifier, name, 'registry.example/other:1')
      assert.ok(!ok)
      assert.match(reason, /"registry.example\/other:1".*not for "registry.example\/other"/)
    })
  })

  test('a policy that is wrong refuses everything until it is mended', async (t) => {
    await given(t, async (all) => {
      const { start, lines, verify, rules, ctx, target } = all
      for (const config of [
        { default: 'warn' },
        { rules: [{ images: ['**'], type: 'allow', extra: 1 }] },
        { rules: [{ images: ['alpine'], type: 'allow' }], enforceOnImageCreate: true },
      ]) {
        const verifier = await start(config)
        const { ok, reason } = await verify(verifier)
        assert.ok(!ok)
        assert.match(reason, /until that is mended every image is refused/)
        const { ok: isAdmitted } = await verifier.admit(ctx, name, target)
        assert.equal(isAdmitted, !('enforceOnImageCreate' in config))
        assert.match(lines.at(-1) ?? '', /^error the image policy is wrong, so every image/)
        await reloaded(verifier, { rules }, all)
        assert.ok((await verify(verifier)).ok)
      }
    })
  })

  test('a new configuration counts at once, a wrong one not at all', async (t) => {
    await given(t, async (all) => {
      const { start, rules, verify } = all
      const verifier = await start({ rules })
      await rejectsWith('invalid_argument', reloaded(verifier, { default: 'no', rules }, all))
      assert.ok((await verify(verifier)).ok)
      await reloaded(verifier, { rules: [{ images: ['**'], type: 'deny' }] }, all)
      assert.ok(!(await verify(verifier)).ok)
      await reloaded(verifier, {}, all)
      assert.ok((await verify(verifier)).ok)
    })
  })

  test('a key that is replaced counts at once', async (t) => {
    await given(t, async ({ start, dir, rules, verify }) => {
      const verifier = await start({ rules })
      assert.ok((await verify(verifier)).ok)
      writePublicKey(dir, 'cosign.pub', newKeys.p256())
      assert.ok(!(await verify(verifier)).ok)
    })
  })

  test('a registry that does not answer in time refuses', async (t) => {
    await given(t, async ({ start, registry, rules, verify }) => {
      registry.resolve = async (ctx) => {
        await untilAborted(ctx.signal)
        ctx.signal.throwIfAborted()
        throw new Error('it has been waited for')
      }
      const verifier = await start({ rules, timeout: '50ms' })
      await rejectsWith('deadline_exceeded', verify(verifier), /not read within timeout, 50 ms/)
    })
  })
})

const descriptor = (text: string): Descriptor => ({
  mediaType: 'text/plain',
  digest: digestOf(text),
  size: text.length,
})

suite('names that are given to content', () => {
  test('are not asked about, unless the policy is enforced there', async (t) => {
    await given(t, async ({ ctx, start, dir, rules, verify }) => {
      const verifier = await start({ rules })
      assert.ok((await verifier.admit(ctx, name, descriptor('anything'))).ok)
      await verify(verifier)
      assert.deepEqual(readdirSync(dir), ['cosign.pub'])
    })
  })

  test('need a verification, of that digest for that repository', async (t) => {
    await given(t, async ({ ctx, start, rules, target, verify }) => {
      const verifier = await start({ rules, enforceOnImageCreate: true })
      const admit = async (as: string, to = target) => await verifier.admit(ctx, as, to)
      const before = await admit(name)
      assert.ok(!before.ok)
      assert.match(
        before.reason,
        /no pull by the daemon has verified one for registry.example\/team/,
      )
      await verify(verifier)
      for (const spelling of [
        name,
        `${repository}@${target.digest}`,
        'Registry.Example:443/team/app',
      ]) {
        assert.ok((await admit(spelling)).ok, spelling)
      }
      assert.ok(!(await admit('registry.example/other:1')).ok)
      assert.ok(!(await admit(name, descriptor('another'))).ok)
      const otherType = { ...target, mediaType: 'application/vnd.oci.image.index.v1+json' }
      assert.ok(!(await admit(name, otherType)).ok)
      assert.ok(!(await admit('not a name')).ok)
      // No rule is about these.
      assert.ok((await admit('elsewhere.example/app:1', descriptor('another'))).ok)
      assert.ok((await admit(digestOf('config'), descriptor('another'))).ok)
    })
  })

  test('are remembered over restarts, for the same keys', async (t) => {
    await given(t, async ({ ctx, dir, start, rules, target, verify }) => {
      const config = { rules, enforceOnImageCreate: true }
      await verify(await start(config))
      assert.ok((await (await start(config)).admit(ctx, name, target)).ok)
      const pem = writePublicKey(dir, 'other.pub', newKeys.p256())
      const other = [{ ...rules[0], keys: [pem] }]
      assert.ok(!(await (await start({ ...config, rules: other })).admit(ctx, name, target)).ok)
      assert.ok(
        !(await (await start({ ...config, rules: [], default: 'deny' })).admit(ctx, name, target))
          .ok,
      )
      writePublicKey(dir, 'cosign.pub', newKeys.p256())
      assert.ok(!(await (await start(config)).admit(ctx, name, target)).ok)
    })
  })

  test('are forgotten when they are over, or cannot be read', async (t) => {
    await given(t, async ({ dir }) => {
      const verified = new VerifiedImages(dir)
      const entry = { trust: 't', repository, digest: digestOf('x'), mediaType: 'm' }
      assert.ok(!(await verified.has(entry)))
      await verified.add({ ...entry, until: new Date(Date.now() + 60_000) })
      assert.ok(await verified.has(entry))
      await verified.add({ ...entry, until: new Date(Date.now() - 1) })
      assert.ok(!(await verified.has(entry)))
      await verified.add(entry)
      assert.ok(await verified.has(entry))
      const [file = ''] = readdirSync(join(dir, 'verified'))
      for (const text of ['', '{', 'null', '{"until":"never"}', '{"until":7}']) {
        await writeFile(join(dir, 'verified', file), text)
        assert.ok(!(await verified.has(entry)), text)
      }
    })
  })
})
