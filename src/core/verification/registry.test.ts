import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes, parseManifest } from '#core/images/oci.ts'
import { RegistryClient } from '#core/remotes/client.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { newContext } from '#testing/context.ts'
import { DockerRegistry, lacksRegistry } from '#testing/docker-registry.ts'
import { pushBytes, pushCosigned, pushManifest, pushSmallImage } from '#testing/push-signed.ts'
import { rejectsWith } from '#testing/rejects.ts'
import {
  authority,
  bundle,
  certify,
  codeSigner,
  envelope,
  newKeys,
  writePublicKey,
} from '#testing/signers.ts'

import { judge } from './judge.ts'
import { parsePolicy } from './parse-policy.ts'

const describe = (bytes: Uint8Array, mediaType: string): Descriptor => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
})

suite('policies over a registry of docker', { skip: lacksRegistry ?? false }, () => {
  const scope = new AsyncDisposableStack()
  let host = ''
  let dir = ''
  let remotes: RegistryClient
  before(async () => {
    host = scope.use(await DockerRegistry.open()).host
    dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'policy-'))).path
    remotes = scope.use(new RegistryClient({ retry: { firstWaitMs: 1 } }))
  })
  after(async () => await scope.disposeAsync())

  /** The index that stands in for the referrers of `target` where a registry does not list them. */
  async function refer(ctx: Context, repository: string, target: Descriptor, entry: object) {
    const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [entry] }
    const tag = target.digest.replace(':', '-')
    const bytes = Buffer.from(JSON.stringify(index))
    await pushBytes(ctx, remotes, `${repository}:${tag}`, bytes, mediaTypes.ociIndex)
  }

  const judged = async (
    ctx: Context,
    name: string,
    target: Descriptor,
    rule: object,
    names = [name],
  ) =>
    await judge(
      ctx,
      parsePolicy({ default: 'deny', rules: [{ images: [`${host}/**`], ...rule }] }),
      {
        name,
        names,
        target,
        remotes,
      },
    )

  test('cosign: signed behind a tag, then copied to another repository', async (t) => {
    const ctx = newContext(t)
    const keys = newKeys.p256()
    const rule = { type: 'cosign', keys: [writePublicKey(dir, 'cosign.pub', keys)] }
    const repository = `${host}/team/app`
    const target = await pushSmallImage(ctx, remotes, `${repository}:1`)
    const none = await judged(ctx, `${repository}:1`, target, rule)
    assert.ok(!none.ok)
    assert.match(
      none.reason,
      /rule "1" asks for a cosign signature with the key in .*; found no cosign/,
    )
    const signed = { digest: target.digest, repository, keys }
    await pushCosigned(ctx, remotes, repository, signed)
    assert.ok((await judged(ctx, `${repository}:1`, target, rule)).ok)
    assert.ok((await judged(ctx, `${repository}@${target.digest}`, target, rule)).ok)

    // Image and signature are the same bytes in another repository.
    const copy = `${host}/evil/app`
    const bytes = Buffer.concat(
      await Array.fromAsync(await (await remotes.fetcher(ctx, repository)).fetch(ctx, target)),
    )
    const { config, layers } = parseManifest(bytes)
    for (const layer of [config, ...layers]) {
      const from = await (await remotes.fetcher(ctx, repository)).fetch(ctx, layer)
      const blob = Buffer.concat(await Array.fromAsync(from))
      await pushBytes(ctx, remotes, `${copy}:1`, blob, layer.mediaType)
    }
    await pushBytes(ctx, remotes, `${copy}:1`, bytes, target.mediaType)
    await pushCosigned(ctx, remotes, copy, signed)
    const copied = await judged(ctx, `${copy}:1`, target, rule)
    assert.ok(!copied.ok)
    assert.match(copied.reason, /it is for ".*\/team\/app", not for ".*\/evil\/app"/)
    assert.ok((await judged(ctx, `${copy}:1`, target, { ...rule, identity: 'any' })).ok)
    // Pulled from where it is right, and named as if it were from where it is not.
    const named = await judged(ctx, `${repository}:1`, target, rule, [`${copy}:1`])
    assert.ok(!named.ok)
    assert.match(named.reason, /"\S+\/evil\/app:1"/)
  })

  test('cosign: a bundle that refers to the image', async (t) => {
    const ctx = newContext(t)
    const keys = newKeys.p256()
    const path = writePublicKey(dir, 'bundle.pub', keys)
    const repository = `${host}/team/bundled`
    const target = await pushSmallImage(ctx, remotes, `${repository}:1`)
    const type = 'application/vnd.dev.sigstore.bundle.v0.3+json'
    const bytes = Buffer.from(JSON.stringify(bundle({ hex: target.digest.slice(7), keys })))
    const signature = await pushManifest(ctx, remotes, `${repository}:signature`, {
      layer: bytes,
      layerType: type,
      subject: target,
      artifactType: type,
    })
    await refer(ctx, repository, target, { ...signature, artifactType: type })
    const rule = { type: 'cosign', keys: [path], identity: 'any' }
    const verdict = await judged(ctx, `${repository}:1`, target, rule)
    assert.ok(verdict.ok, verdict.reason)
    assert.match(verdict.reason, /rule "1": signed with the key in .*bundle.pub/)
  })

  test('notation: an envelope that refers to the image', async (t) => {
    const ctx = newContext(t)
    const root = certify(dir, 'root', { subject: '/CN=root', extensions: authority })
    const signer = certify(dir, 'signer', {
      subject: '/O=acme/CN=signer',
      extensions: codeSigner,
      issuer: root,
    })
    const repository = `${host}/team/notarized`
    const target = await pushSmallImage(ctx, remotes, `${repository}:1`)
    const rule = { type: 'notation', certificates: [root.path], identities: ['O=acme'] }
    const none = await judged(ctx, `${repository}:1`, target, rule)
    assert.ok(!none.ok)
    assert.match(none.reason, /found no notation signature/)
    const bytes = Buffer.from(JSON.stringify(envelope({ target, chain: [signer, root] })))
    const artifactType = 'application/vnd.cncf.notary.signature'
    const signature = await pushManifest(ctx, remotes, `${repository}:signature`, {
      layer: bytes,
      layerType: 'application/jose+json',
      subject: target,
      artifactType,
    })
    await refer(ctx, repository, target, { ...signature, artifactType })
    const verdict = await judged(ctx, `${repository}:1`, target, rule)
    assert.ok(verdict.ok, verdict.reason)
    const other = await judged(ctx, `${repository}:1`, target, { ...rule, identities: ['O=other'] })
    assert.ok(!other.ok)
  })

  test('names without a rule, and names that are none, are told apart', async (t) => {
    const ctx = newContext(t)
    const target = await pushSmallImage(ctx, remotes, `${host}/team/plain:1`)
    const name = `${host}/team/plain:1`
    const rule = { type: 'allow' }
    assert.ok((await judged(ctx, name, target, rule)).ok)
    for (const [other, why] of [
      ['elsewhere.example/app', /no rule is about it, and the default is to deny; add a rule/],
      ['a b', /"a b" is not the name of an image in a registry/],
    ] as const) {
      const verdict = await judged(ctx, name, target, rule, [other])
      assert.ok(!verdict.ok)
      assert.match(verdict.reason, why)
    }
    const denied = await judged(ctx, name, target, { type: 'deny', name: 'never' })
    assert.ok(!denied.ok)
    assert.match(denied.reason, /rule "never" denies it/)
  })

  test('a registry that cannot be reached, and a key that cannot be read, refuse', async (t) => {
    const ctx = newContext(t)
    const target = describe(Buffer.from('x'), mediaTypes.ociManifest)
    const rules = [{ images: ['**'], type: 'cosign', keys: [join(dir, 'none.pub')] }]
    const policy = parsePolicy({ default: 'allow', rules })
    const candidate = { name: '127.0.0.1:1/app', names: [], target, remotes }
    await rejectsWith(
      'failed_precondition',
      judge(ctx, policy, candidate),
      /image policy: rule "1": cannot verify 127.0.0.1:1\/app@sha256:\w+: .*none.pub/,
    )
    const keys = [writePublicKey(dir, 'some.pub', newKeys.p256())]
    const readable = parsePolicy({ default: 'allow', rules: [{ ...rules[0], keys }] })
    await rejectsWith('unavailable', judge(ctx, readable, candidate), /cannot verify 127.0.0.1:1/)
  })
})
