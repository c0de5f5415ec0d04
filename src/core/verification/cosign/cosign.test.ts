import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'

import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes } from '#core/images/oci.ts'
import { Evidence } from '#core/verification/evidence.ts'
import type { Outcome } from '#core/verification/outcome.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { unavailable } from '#lib/errors/errors.ts'
import { newContext } from '#testing/context.ts'
import { MemoryRegistry } from '#testing/memory-registry.ts'
import { rejectsWith } from '#testing/rejects.ts'
import {
  bundle,
  type KeyPair,
  newKeys,
  signBytes,
  signPss,
  simpleSigning,
  writePublicKey,
} from '#testing/signers.ts'

import { verifyCosign } from './cosign.ts'

const repository = 'registry.example/team/app'
const payloadType = 'application/vnd.dev.cosign.simplesigning.v1+json'
const bundleType = 'application/vnd.dev.sigstore.bundle.v0.3+json'
const keys = newKeys.p256()
const strangers = newKeys.p256()

interface Given {
  readonly registry: MemoryRegistry
  readonly target: Descriptor
  readonly dir: string
  /** Puts a manifest with these layers behind the tag for signatures. */
  readonly tag: (...layers: readonly unknown[]) => void
  /** A layer with `payload` and its signature. */
  readonly layer: (payload: Uint8Array, signature: Uint8Array | string) => object
  readonly verify: (options?: {
    readonly keys?: readonly string[]
    readonly identity?: string
  }) => Promise<Outcome>
}

/** An image without signatures, and the key of `keys` in a file. */
async function given(t: TestContext, body: (given: Given) => Promise<void>): Promise<void> {
  const ctx = newContext(t)
  await using dir = await mkdtempDisposable(join(tmpdir(), 'cosign-'))
  const registry = new MemoryRegistry()
  const target = registry.putJson({ schemaVersion: 2, layers: [] })
  const path = writePublicKey(dir.path, 'cosign.pub', keys)
  const candidate = { name: `${repository}:1`, names: [], target, remotes: registry }
  await body({
    registry,
    target,
    dir: dir.path,
    tag(...layers) {
      const tag = `${target.digest.replace(':', '-')}.sig`
      registry.tags.set(`${repository}:${tag}`, registry.putJson({ schemaVersion: 2, layers }))
    },
    layer: (payload, signature) => ({
      ...registry.put(payload, payloadType),
      annotations: {
        'dev.cosignproject.cosign/signature':
          typeof signature === 'string' ? signature : Buffer.from(signature).toString('base64'),
      },
    }),
    async verify({ keys: paths = [path], identity = 'repository' } = {}) {
      const trust = { type: 'cosign', keys: paths, identity } as const
      return await verifyCosign(ctx, new Evidence(candidate), trust, repository)
    },
  })
}

function refused(outcome: Outcome, why: RegExp): void {
  assert.ok(!outcome.ok, JSON.stringify(outcome))
  assert.match(outcome.found, why)
}

suite('cosign signatures', () => {
  for (const [name, make, sign] of [
    ['P-256', newKeys.p256, signBytes],
    ['P-384 over SHA-256', newKeys.p384, signBytes],
    ['P-384 over SHA-384', newKeys.p384, (bytes, pair) => signBytes(bytes, pair, 'sha384')],
    ['P-521 over SHA-256', newKeys.p521, signBytes],
    ['P-521 over SHA-512', newKeys.p521, (bytes, pair) => signBytes(bytes, pair, 'sha512')],
    ['RSA, PKCS 1', newKeys.rsa, signBytes],
    ['RSA, PSS', newKeys.rsa, signPss],
    ['Ed25519', newKeys.ed25519, signBytes],
  ] as const satisfies readonly (readonly [
    string,
    () => KeyPair,
    (bytes: Uint8Array, pair: KeyPair) => Buffer,
  ])[]) {
    test(`one with ${name} is good, and not when a byte is changed`, async (t) => {
      await given(t, async ({ target, dir, tag, layer, verify }) => {
        const pair = make()
        const path = writePublicKey(dir, 'other.pub', pair)
        const payload = simpleSigning({ digest: target.digest, repository })
        const signature = sign(payload, pair)
        tag(layer(payload, signature))
        assert.deepEqual(await verify({ keys: [path] }), {
          ok: true,
          by: `signed with the key in ${path}`,
        })
        signature.writeUInt8(signature.readUInt8(40) ^ 1, 40)
        tag(layer(payload, signature))
        refused(await verify({ keys: [path] }), /none of the rule's keys/)
      })
    })
  }

  test('none is found where there is none', async (t) => {
    await given(t, async ({ verify }) => refused(await verify(), /^no cosign signature$/))
  })

  test('one of several is enough, and any of several keys', async (t) => {
    await given(t, async ({ target, dir, tag, layer, verify }) => {
      const payload = simpleSigning({ digest: target.digest, repository })
      tag(layer(payload, signBytes(payload, strangers)), layer(payload, signBytes(payload, keys)))
      assert.ok((await verify()).ok)
      const stranger = writePublicKey(dir, 'stranger.pub', strangers)
      tag(layer(payload, signBytes(payload, keys)))
      assert.ok((await verify({ keys: [stranger, join(dir, 'cosign.pub')] })).ok)
      refused(await verify({ keys: [stranger] }), /none of the rule's keys/)
    })
  })

  test('referrers are found, when their manifest is about the image', async (t) => {
    await given(t, async ({ registry, target, layer, verify }) => {
      const payload = simpleSigning({ digest: target.digest, repository })
      const layers = [layer(payload, signBytes(payload, keys))]
      const artifactType = 'application/vnd.dev.cosign.artifact.sig.v1+json'
      const refer = (subject: unknown): void => {
        registry.referrers.splice(0)
        registry.referrers.push({ ...registry.putJson({ layers, subject }), artifactType })
      }
      refer(target)
      assert.ok((await verify()).ok)
      for (const subject of [undefined, { ...target, digest: digestOf('x') }, 'x']) {
        refer(subject)
        refused(await verify(), /is not about the image/)
      }
    })
  })

  test('what is signed must be about this image', async (t) => {
    await given(t, async ({ target, tag, layer, verify }) => {
      for (const [payload, why] of [
        [simpleSigning({ digest: digestOf('x'), repository }), /signature of another image/],
        [
          simpleSigning({ digest: target.digest.toUpperCase(), repository }),
          /signature of another image/,
        ],
        [simpleSigning({ digest: '', repository }), /signature of another image/],
        [
          simpleSigning({ digest: target.digest, repository, type: 'atomic container signature' }),
          /of type "atomic container signature"/,
        ],
        [Buffer.from('not json'), /no good JSON/],
        [Buffer.from('null'), /of type ""/],
      ] as const) {
        tag(layer(payload, signBytes(payload, keys)))
        refused(await verify({ identity: 'any' }), why)
      }
    })
  })

  test('a payload that says two things is refused, though it is signed', async (t) => {
    await given(t, async ({ target, tag, layer, verify }) => {
      const good = simpleSigning({ digest: target.digest, repository }).toString()
      const image = `"image":{"docker-manifest-digest":"${target.digest}"}`
      for (const [text, why] of [
        [good.replace(image, `${image},${image}`), /"image" stands twice/],
        [good.replace(image, `${image.replace('image', 'Image')},${image}`), /stands twice/],
        [good.replace(image, `${image},"unknown":1`), /"unknown" among what must be understood/],
      ] as const) {
        const payload = Buffer.from(text)
        tag(layer(payload, signBytes(payload, keys)))
        refused(await verify({ identity: 'any' }), why)
      }
    })
  })

  test('it must be meant for the repository, as the rule has it', async (t) => {
    await given(t, async ({ target, tag, layer, verify }) => {
      const claim = (repo: string): void => {
        const payload = simpleSigning({ digest: target.digest, repository: repo })
        tag(layer(payload, signBytes(payload, keys)))
      }
      claim('registry.example/other/app')
      refused(await verify(), /it is for "registry.example\/other\/app", not for/)
      assert.ok((await verify({ identity: 'any' })).ok)
      assert.ok((await verify({ identity: 'Registry.Example:443/other/app' })).ok)
      claim('')
      refused(await verify(), /does not say for which repository/)
      refused(await verify({ identity: 'registry.example/other/app' }), /does not say for which/)
      assert.ok((await verify({ identity: 'any' })).ok)
      claim('REGISTRY.example/team/app:1')
      assert.ok((await verify()).ok)
    })
  })

  test('a payload that is swapped, missing, too large or unsigned is refused', async (t) => {
    await given(t, async ({ registry, target, tag, layer, verify }) => {
      const payload = simpleSigning({ digest: target.digest, repository })
      const good = layer(payload, signBytes(payload, keys))
      const digest = digestOf(payload)
      tag(good)
      registry.blobs.set(digest, simpleSigning({ digest: digestOf('x'), repository }))
      refused(await verify(), /is something else/)
      registry.blobs.set(digest, Buffer.alloc(200_000, ' '))
      refused(await verify(), /more than 131072 bytes/)
      registry.blobs.delete(digest)
      refused(await verify(), /not found/)
      registry.put(payload, payloadType)
      tag({ ...good, size: 10_000_000 })
      refused(await verify(), /has 10000000 bytes, and may have 131072/)
      for (const signature of ['', '!!!', 'AAAA']) {
        tag(layer(payload, signature))
        refused(await verify(), signature === 'AAAA' ? /none of the rule/ : /no signature, or none/)
      }
      tag({ ...good, annotations: undefined })
      refused(await verify(), /no signature, or none in base64/)
      tag({ ...good, digest: 'sha256:abc' })
      refused(await verify(), /invalid checksum digest/)
      tag({ ...good, mediaType: 'application/octet-stream' })
      refused(await verify(), /^no cosign signature$/)
    })
  })

  test('a manifest of signatures that is none is refused', async (t) => {
    await given(t, async ({ registry, target, verify }) => {
      const name = `${repository}:${target.digest.replace(':', '-')}.sig`
      for (const [bytes, why] of [
        ['[]', /not a JSON object/],
        ['{', /cannot parse manifest/],
        ['{}', /^no cosign signature$/],
        ['{"layers":[]}', /^no cosign signature$/],
        ['{"layers":[null,1,"x"]}', /^no cosign signature$/],
        [' '.repeat(1_100_000), /and may have 1048576/],
      ] as const) {
        registry.tags.set(name, registry.put(Buffer.from(bytes), mediaTypes.ociManifest))
        refused(await verify(), why)
      }
    })
  })

  test('of a flood of signatures a bounded number is looked at, and few are told', async (t) => {
    await given(t, async ({ target, tag, layer, verify }) => {
      const payload = simpleSigning({ digest: target.digest, repository })
      const flood = Array.from({ length: 200 }, () => layer(payload, 'AAAA'))
      tag(...flood, layer(payload, signBytes(payload, keys)))
      const outcome = await verify()
      refused(outcome, /^cosign signatures: 50, none of them good: .*and 46 more$/)
    })
  })

  test('bundles are read, when they are signatures of the image', async (t) => {
    await given(t, async ({ registry, target, verify }) => {
      const hex = target.digest.replace('sha256:', '')
      const refer = (value: unknown): void => {
        const subject = target
        const layers = [registry.putJson(value, bundleType)]
        registry.referrers.splice(0)
        registry.referrers.push({
          ...registry.putJson({ layers, subject }),
          artifactType: bundleType,
        })
      }
      refer(bundle({ hex, keys }))
      assert.ok((await verify({ identity: 'any' })).ok)
      refused(await verify(), /identity = "any"/)
      refer(bundle({ hex, keys, name: repository }))
      assert.ok((await verify()).ok)
      const good = bundle({ hex, keys })
      const dsse = good.dsseEnvelope
      const [signature] = dsse.signatures
      for (const [value, why] of [
        [bundle({ hex, keys: strangers }), /none of the rule's keys/],
        [bundle({ hex: hex.replace(/^./, (c) => (c === '0' ? '1' : '0')), keys }), /another image/],
        [bundle({ hex: hex.toUpperCase(), keys }), /another image/],
        [bundle({ hex, keys, predicateType: 'https://slsa.dev/provenance/v1' }), /an attestation/],
        [{ ...good, mediaType: 'application/vnd.dev.sigstore.bundle+json;version=0.1' }, /of type/],
        [{ mediaType: bundleType, messageSignature: {} }, /no in-toto statement/],
        [{ ...good, dsseEnvelope: { ...dsse, signatures: [] } }, /one payload and one signature/],
        [
          { ...good, dsseEnvelope: { ...dsse, signatures: [signature, signature] } },
          /one payload and one signature/,
        ],
        [{ ...good, dsseEnvelope: { ...dsse, payloadType: 'text/plain' } }, /no in-toto statement/],
        [{ ...good, dsseEnvelope: { ...dsse, payload: 'e30=' } }, /none of the rule's keys/],
      ] as const) {
        refer(value)
        refused(await verify({ identity: 'any' }), why)
      }
    })
  })

  test('a key that cannot be used is the fault of the policy, and refuses', async (t) => {
    await given(t, async ({ dir, verify }) => {
      const file = (name: string, text: string | Buffer): string => {
        writeFileSync(join(dir, name), text)
        return join(dir, name)
      }
      const spki = (type: KeyPair): Buffer =>
        Buffer.from(type.publicKey.export({ type: 'spki', format: 'pem' }))
      const k256 = generateKeyPairSync('ec', { namedCurve: 'secp256k1' })
      for (const [path, why] of [
        [join(dir, 'none.pub'), /none.pub", which cannot be read/],
        [file('empty.pub', ''), /no PEM block/],
        [
          file('private.pub', keys.privateKey.export({ type: 'pkcs8', format: 'pem' })),
          /has a PRIVATE KEY, not a PUBLIC KEY/,
        ],
        [
          file('bad.pub', '-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n'),
          /cannot be read/,
        ],
        [file('small.pub', spki(newKeys.rsa(1024))), /has 1024 bits/],
        [file('k256.pub', spki(k256)), /is on curve secp256k1/],
        [file('x.pub', spki(generateKeyPairSync('x25519'))), /is of type x25519/],
      ] as const) {
        await rejectsWith('failed_precondition', verify({ keys: [path] }), why)
      }
    })
  })

  test('a registry that does not answer is not taken for one without signatures', async (t) => {
    await given(t, async ({ registry, target, tag, layer, verify }) => {
      const payload = simpleSigning({ digest: target.digest, repository })
      tag(layer(payload, signBytes(payload, keys)))
      registry.fault = unavailable('the registry has gone')
      await rejectsWith('unavailable', verify(), /look for the signatures behind tag sha256-/)
    })
  })
})
