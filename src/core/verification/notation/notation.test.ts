import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, suite, test, type TestContext } from 'node:test'

import type { Descriptor } from '#core/images/images.ts'
import { Evidence } from '#core/verification/evidence.ts'
import type { Outcome } from '#core/verification/outcome.ts'
import type { NotationTrust } from '#core/verification/rule.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { newContext } from '#testing/context.ts'
import { MemoryRegistry } from '#testing/memory-registry.ts'
import { random } from '#testing/random.ts'
import { rejectsWith } from '#testing/rejects.ts'
import {
  authority,
  type Certified,
  certify,
  codeSigner,
  envelope,
  type Envelope,
  newKeys,
} from '#testing/signers.ts'

import { parseEnvelope } from './envelope.ts'
import { verifyNotation } from './notation.ts'

const lacks = spawnSync('openssl', ['version']).error ? 'openssl is not installed' : false
const artifactType = 'application/vnd.cncf.notary.signature'

suite('notation signatures', { skip: lacks }, () => {
  const dir = mkdtempSync(join(tmpdir(), 'notation-'))
  after(() => rmSync(dir, { recursive: true }))
  let count = 0
  const next = (): string => `c${count++}`
  const root = lacks
    ? undefined
    : certify(dir, 'root', { subject: '/CN=root', extensions: authority })
  const issuer = root && certified({ subject: '/O=acme/CN=issuing', extensions: authority }, root)
  const signer = issuer && certified({}, issuer)
  const chain = [signer, issuer, root].filter((entry) => entry !== undefined)

  function certified(
    options: Partial<Parameters<typeof certify>[2]>,
    by: Certified | undefined,
  ): Certified {
    return certify(dir, next(), {
      subject: '/C=US/ST=WA/O=acme/OU=build/CN=signer',
      extensions: codeSigner,
      ...(by && { issuer: by }),
      ...options,
    })
  }

  interface Given {
    readonly registry: MemoryRegistry
    readonly target: Descriptor
    /** Puts a manifest about the image beside it, with this envelope. */
    readonly attach: (value: unknown, mediaType?: string, subject?: unknown) => void
    readonly verify: (trust?: Partial<NotationTrust>) => Promise<Outcome>
  }

  async function given(t: TestContext, body: (given: Given) => Promise<void>): Promise<void> {
    const ctx = newContext(t)
    const registry = new MemoryRegistry()
    const target = registry.putJson({ schemaVersion: 2, layers: [] })
    const candidate = { name: 'registry.example/app:1', names: [], target, remotes: registry }
    await body({
      registry,
      target,
      attach(value, mediaType = 'application/jose+json', subject = target) {
        const bytes = Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value))
        const layers = [registry.put(bytes, mediaType)]
        registry.referrers.splice(0)
        registry.referrers.push({ ...registry.putJson({ layers, subject }), artifactType })
      },
      async verify(trust = {}) {
        const all = {
          type: 'notation',
          identities: 'any',
          certificates: [root?.path ?? ''],
        } as const
        return await verifyNotation(ctx, new Evidence(candidate), { ...all, ...trust })
      },
    })
  }

  function refused(outcome: Outcome, why: RegExp): void {
    assert.ok(!outcome.ok, JSON.stringify(outcome))
    assert.match(outcome.found, why)
  }

  test('one under a trusted root is good, and says whose it is', async (t) => {
    await given(t, async ({ target, attach, verify }) => {
      attach(envelope({ target, chain }))
      const outcome = await verify()
      assert.ok(outcome.ok)
      assert.equal(outcome.by, 'signed by "C=US, ST=WA, O=acme, OU=build, CN=signer"')
      assert.ok(outcome.until && outcome.until > new Date())
      // Trusting the authority in between is enough; trusting the signer's own certificate is not.
      assert.ok((await verify({ certificates: [issuer?.path ?? ''] })).ok)
      refused(await verify({ certificates: [signer?.path ?? ''] }), /no certificate of the rule/)
    })
  })

  test('none is found where there is none', async (t) => {
    await given(t, async ({ verify }) => refused(await verify(), /^no notation signature$/))
  })

  for (const [name, make, alg] of [
    ['P-384', newKeys.p384, 'ES384'],
    ['P-521', newKeys.p521, 'ES512'],
    ['RSA 2048', () => newKeys.rsa(2048), 'PS256'],
    ['RSA 3072', () => newKeys.rsa(3072), 'PS384'],
    ['RSA 4096', () => newKeys.rsa(4096), 'PS512'],
  ] as const) {
    test(`a key of ${name} signs with ${alg} and nothing else`, async (t) => {
      await given(t, async ({ target, attach, verify }) => {
        const own = certified({ subject: '/CN=alone', keys: make() }, undefined)
        const certificates = [own.path]
        attach(envelope({ target, chain: [own], alg }))
        assert.ok((await verify({ certificates })).ok)
        for (const other of alg.startsWith('PS')
          ? ['PS256', 'PS384', 'RS256']
          : ['ES256', 'none']) {
          if (other === alg) continue
          attach(envelope({ target, chain: [own], alg: other }))
          refused(await verify({ certificates }), /its algorithm is "\w+", and its key is for/)
        }
      })
    })
  }

  test('a key of another kind or size is of no use', async (t) => {
    await given(t, async ({ target, attach, verify }) => {
      for (const keys of [newKeys.rsa(2560), newKeys.ed25519()]) {
        const own = certified({ subject: '/CN=alone', keys }, undefined)
        attach(envelope({ target, chain: [own], signWith: newKeys.p256() }))
        refused(await verify({ certificates: [own.path] }), /of no allowed kind/)
      }
    })
  })

  test('algorithms that sign nothing, or with a secret, are refused', async (t) => {
    await given(t, async ({ target, attach, verify }) => {
      for (const alg of ['none', 'HS256', 'ES384', 'PS256', '', 'es256']) {
        attach(envelope({ target, chain, alg }))
        refused(await verify(), /and its key is for ES256/)
      }
    })
  })

  test('what was signed must be this image', async (t) => {
    await given(t, async ({ target, attach, verify }) => {
      for (const other of [
        { ...target, digest: digestOf('x') },
        { ...target, digest: target.digest.toUpperCase() },
        { ...target, size: target.size + 1 },
        { ...target, size: String(target.size) },
        { ...target, mediaType: 'application/vnd.oci.image.index.v1+json' },
        {},
        null,
      ]) {
        attach(envelope({ target: other, chain }))
        refused(await verify(), /signature of another image/)
      }
    })
  })

  test('signatures and contents that are swapped or changed do not fit', async (t) => {
    await given(t, async ({ target, attach, verify }) => {
      const good = envelope({ target, chain })
      const other = envelope({ target: { ...target, size: 1 }, chain })
      for (const [value, why] of [
        [{ ...good, payload: other.payload }, /does not fit/],
        [{ ...good, signature: other.signature }, /does not fit/],
        [{ ...good, signature: good.signature.slice(0, 20) }, /does not fit/],
        [{ ...good, signature: '' }, /no payload, no header or no signature/],
        [{ ...good, signature: `${good.signature}=` }, /no payload, no header or no signature/],
        [{ ...good, header: {} }, /has no certificates/],
        [{ ...good, header: { x5c: [] } }, /has no certificates/],
        [{ ...good, header: { x5c: ['AAAA'] } }, /./],
        [{ ...good, header: { x5c: ['%%'] } }, /not in base64/],
        [{ ...good, signatures: [] }, /has a "signatures"/],
        [{ payload: good.payload, signatures: [] }, /has a "signatures"/],
        [[good], /no payload/],
        [Buffer.from('{'), /no good JSON/],
        [Buffer.alloc(1_100_000, ' '), /and may have 1048576/],
      ] as const) {
        attach(value)
        refused(await verify(), why)
      }
      const twice = JSON.stringify(good).replace('{', `{"payload":"${other.payload}",`)
      attach(Buffer.from(twice))
      refused(await verify(), /"payload" stands twice/)
      attach(envelope({ target, chain, signWith: newKeys.p256() }))
      refused(await verify(), /does not fit/)
    })
  })

  test('headers must be those that are understood, and in time', async (t) => {
    await given(t, async ({ target, attach, verify }) => {
      const scheme = 'io.cncf.notary.signingScheme'
      const expiry = 'io.cncf.notary.expiry'
      const crit = [scheme, expiry]
      attach(
        envelope({ target, chain, header: { [expiry]: '2999-01-01T00:00:00Z', crit, own: 1 } }),
      )
      assert.ok((await verify()).ok)
      for (const [header, why] of [
        [{ [expiry]: '2026-01-02T00:00:00Z', crit }, /has expired on 2026-01-02/],
        [{ [expiry]: 'tomorrow', crit }, /expiry is no time/],
        [{ [expiry]: '2999-01-01T00:00:00Z' }, /list of critical ones only/],
        [{ crit }, /list of critical ones only/],
        [{ crit: [] }, /list of critical ones only/],
        [{ crit: [scheme, 'other'], other: 1 }, /asks to understand "other"/],
        [{ crit: [scheme, 7] }, /asks to understand 7/],
        [{ 'io.cncf.notary.verificationPlugin': 'x' }, /asks to understand/],
        [{ [scheme]: 'notary.x509.signingAuthority' }, /signing scheme is/],
        [{ [scheme]: undefined }, /signing scheme is/],
        [{ cty: 'text/plain' }, /not that of notation/],
        [{ 'io.cncf.notary.signingTime': '' }, /signingTime is no time/],
      ] as const) {
        attach(envelope({ target, chain, header }))
        refused(await verify(), why)
      }
    })
  })

  test('a chain is in order, whole, and ends in its root', async (t) => {
    await given(t, async ({ target, attach, verify }) => {
      const [leaf, middle, top] = chain
      const stranger = certify(dir, next(), { subject: '/CN=root', extensions: authority })
      assert.ok(leaf && middle && top)
      for (const [order, why] of [
        [[leaf, middle], /ends the chain and is no root/],
        [[leaf, top], /is not signed by the next one/],
        [[leaf, top, middle], /is not signed by the next one/],
        [[leaf, middle, top, top], /is a root, and not the last/],
        [[leaf, middle, stranger], /is not signed by the next one/],
        [[leaf], /ends the chain and is no root/],
        [Array.from({ length: 11 }, () => leaf), /has 11 certificates/],
      ] as const) {
        attach(envelope({ target, chain: order }))
        refused(await verify(), why)
      }
      // Another authority, also one of the same name.
      attach(envelope({ target, chain }))
      refused(await verify({ certificates: [stranger.path] }), /no certificate of the rule/)
    })
  })

  test('certificates must be made for what they do', async (t) => {
    await given(t, async ({ target, attach, verify }) => {
      assert.ok(root && issuer)
      const leaves: readonly (readonly [readonly string[], RegExp])[] = [
        [[], /no key usage that is marked critical/],
        [['keyUsage=digitalSignature'], /no key usage that is marked critical/],
        [['keyUsage=critical,nonRepudiation'], /may not be used for signatures/],
        [['keyUsage=critical,digitalSignature,keyCertSign'], /also be used for keyCertSign/],
        [['keyUsage=critical,digitalSignature,decipherOnly,keyAgreement'], /also be used for keyA/],
        [['keyUsage=critical,digitalSignature', 'extendedKeyUsage=serverAuth'], /purpose 1.3.6/],
        [
          ['keyUsage=critical,digitalSignature', 'extendedKeyUsage=codeSigning,timeStamping'],
          /purpose 1.3.6.1.5.5.7.3.8/,
        ],
        [
          ['keyUsage=critical,digitalSignature', 'extendedKeyUsage=anyExtendedKeyUsage'],
          /purpose 2.5.29.37.0/,
        ],
        [['basicConstraints=CA:TRUE', 'keyUsage=critical,digitalSignature'], /of an authority/],
      ]
      for (const [extensions, why] of leaves) {
        attach(envelope({ target, chain: [certified({ extensions }, issuer), issuer, root] }))
        refused(await verify(), why)
      }
      const usage = 'keyUsage=critical,keyCertSign'
      const authorities: readonly (readonly [readonly string[], RegExp])[] = [
        [[usage], /is not one of an authority/],
        [['basicConstraints=CA:TRUE', usage], /is not one of an authority/],
        [['basicConstraints=critical,CA:FALSE', usage], /is not one of an authority/],
        [['basicConstraints=critical,CA:TRUE'], /no key usage that is marked critical/],
        [['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,cRLSign'], /may not sign cert/],
      ]
      for (const [extensions, why] of authorities) {
        const between = certified({ subject: '/CN=between', extensions }, root)
        attach(envelope({ target, chain: [certified({}, between), between, root] }))
        refused(await verify(), why)
      }
      const near = certify(dir, next(), {
        subject: '/CN=near',
        extensions: ['basicConstraints=critical,CA:TRUE,pathlen:0', usage],
      })
      const below = certified({ subject: '/CN=below', extensions: authority }, near)
      attach(envelope({ target, chain: [certified({}, below), below, near] }))
      refused(await verify({ certificates: [near.path] }), /may have 0 authorities below it/)
      const old = certified({ hash: 'sha1' }, issuer)
      attach(envelope({ target, chain: [old, issuer, root] }))
      refused(await verify(), /too weak or not known/)
    })
  })

  test('nothing follows a certificate', async (t) => {
    await given(t, async ({ target, attach, verify }) => {
      const { header, ...rest } = envelope({ target, chain })
      const x5c = header.x5c.map((text) =>
        Buffer.concat([Buffer.from(text, 'base64'), Buffer.of(7)]).toString('base64'),
      )
      attach({ ...rest, header: { ...header, x5c } })
      refused(await verify(), /is followed by something else/)
    })
  })

  test('certificates are good from their first moment to their last', () => {
    const value: Envelope = { target: {}, chain }
    const bytes = Buffer.from(JSON.stringify(envelope(value)))
    const day = 86_400_000
    assert.ok(parseEnvelope(bytes, new Date()))
    assert.throws(() => parseEnvelope(bytes, new Date(Date.now() - day)), /is valid from .* on/)
    assert.throws(() => parseEnvelope(bytes, new Date(Date.now() + 3 * day)), /has expired on/)
  })

  test('no byte of an envelope can be changed, but those that nobody has signed', async (t) => {
    await given(t, async ({ target, attach, verify }) => {
      const text = JSON.stringify(envelope({ target, chain }))
      const agent = text.indexOf('io.cncf.notary.signingAgent')
      const unsigned = [agent, text.indexOf('"}', agent)] as const
      const below = random(7)
      for (let i = 0; i < 600; i++) {
        const at = below(text.length)
        const bytes = Buffer.from(text)
        bytes[at] = (text.charCodeAt(at) + 1 + below(94)) % 127
        attach(bytes)
        const { ok } = await verify()
        const isUnsigned = at >= unsigned[0] && at < unsigned[1]
        assert.ok(!ok || isUnsigned, `byte ${at}: ${bytes.toString()}`)
      }
    })
  })

  test('the signer must be one of those that the rule names', async (t) => {
    await given(t, async ({ target, attach, verify }) => {
      attach(envelope({ target, chain }))
      const named = (...parts: [string, string][]) => ({ identities: [parts] })
      assert.ok((await verify(named(['O', 'acme'], ['C', 'US']))).ok)
      refused(await verify(named(['O', 'acme'], ['C', 'DE'])), /not among the rule's identities/)
      refused(await verify(named(['O', 'ACME'])), /not among the rule's identities/)
      refused(await verify(named(['CN', 'acme'])), /not among the rule's identities/)
      // A name within a name is no name.
      const forged = certified({ subject: '/CN=x, O=acme' }, issuer)
      attach(envelope({ target, chain: [forged, ...chain.slice(1)] }))
      refused(await verify(named(['O', 'acme'])), /not among the rule's identities/)
    })
  })

  test('manifests must be about the image, with one envelope that is JWS', async (t) => {
    await given(t, async ({ registry, target, attach, verify }) => {
      const good = envelope({ target, chain })
      for (const subject of [null, { ...target, digest: digestOf('x') }, target.digest]) {
        attach(good, 'application/jose+json', subject)
        refused(await verify(), /manifest is about another image/)
      }
      attach(good, 'application/cose')
      refused(await verify(), /is COSE; only JWS is read/)
      attach(good, 'text/plain')
      refused(await verify(), /envelope is of type "text\/plain"/)
      for (const layers of [[], [good, good]]) {
        const manifest = registry.putJson({ layers, subject: target })
        registry.referrers.splice(0, 1, { ...manifest, artifactType })
        refused(await verify(), /does not have one layer/)
      }
    })
  })

  test('a bad one does not hide a good one', async (t) => {
    await given(t, async ({ registry, target, attach, verify }) => {
      attach(envelope({ target, chain, alg: 'none' }))
      const bad = registry.referrers[0]
      attach(envelope({ target, chain }))
      assert.ok(bad)
      registry.referrers.unshift(bad)
      assert.ok((await verify()).ok)
    })
  })

  test('certificates of the rule that cannot be read refuse', async (t) => {
    await given(t, async ({ verify }) => {
      const path = join(dir, 'bad.pem')
      writeFileSync(path, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
      await rejectsWith('failed_precondition', verify({ certificates: [path] }), /no certificate/)
      const missing = join(dir, 'missing.pem')
      await rejectsWith(
        'failed_precondition',
        verify({ certificates: [missing] }),
        /cannot be read/,
      )
      copyFileSync(root?.keyPath ?? '', path)
      await rejectsWith('failed_precondition', verify({ certificates: [path] }), /PRIVATE KEY/)
    })
  })
})
