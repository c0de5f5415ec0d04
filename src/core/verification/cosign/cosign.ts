import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { fromBase64 } from '#core/verification/base64.ts'
import { type Evidence, type Layer, mostSignatures } from '#core/verification/evidence.ts'
import { type Outcome, untrusted } from '#core/verification/outcome.ts'
import { isSameRepository } from '#core/verification/repository-name.ts'
import type { CosignTrust } from '#core/verification/rule.ts'
import { describe } from '#lib/errors/errors.ts'

import { bundleType, parseBundle } from './bundle.ts'
import { readKeys, type TrustedKey } from './keys.ts'
import {
  type Claim,
  parseSimpleSigning,
  signatureAnnotation,
  simpleSigningType,
} from './simple-signing.ts'

/*
 * Where cosign leaves signatures of sha256:<hex>, all in the repository of the image:
 *
 *   tag sha256-<hex>.sig ───────────┐
 *   referrers, artifactType          ├─► manifest ─ layers ─► payload, simple signing
 *   …cosign.artifact.sig.v1+json ───┘                └ annotation: the signature
 *   referrers, artifactType
 *   …sigstore.bundle.v0.3+json ─────────► manifest ─ layer ─► bundle: payload and signature
 *
 * A manifest has one layer per signature. Who may write to the repository can add some, and so can
 * refuse the image to everybody, which they can do anyway, but not make it trusted.
 *
 * Source: cosign `specs/SIGNATURE_SPEC.md`, `pkg/oci/remote`.
 */

const signatureArtifact = 'application/vnd.dev.cosign.artifact.sig.v1+json'
/**
 * What cosign 3 says of its bundles in the index that stands in for the API of referrers: the type of
 * their config. What else is of that type has no layer with a signature.
 */
const emptyConfig = 'application/vnd.oci.empty.v1+json'
const mostPayloadBytes = 128 * 1024
const mostBundleBytes = 1024 * 1024

/**
 * Looks for a signature of the image by one of the rule's keys.
 *
 * @param repository what the image is named, for `identity = "repository"`.
 * @throws `failed_precondition` when a key cannot be read; what the registry throws.
 */
export async function verifyCosign(
  ctx: Context,
  evidence: Evidence,
  trust: CosignTrust,
  repository: string,
): Promise<Outcome> {
  const check: Check = { evidence, trust, repository, keys: await readKeys(ctx, trust.keys) }
  const faults: string[] = []
  for await (const found of candidates(ctx, evidence)) {
    try {
      const { key, ...claim } = await found(check)
      checkClaim(claim, check)
      return { ok: true, by: `signed with the key in ${key.path}` }
    } catch (err) {
      ctx.signal.throwIfAborted()
      faults.push(describe(err))
    }
    if (faults.length >= mostSignatures) break
  }
  return untrusted('cosign', faults)
}

interface Check {
  readonly evidence: Evidence
  readonly trust: CosignTrust
  readonly repository: string
  readonly keys: readonly TrustedKey[]
}

type Signed = Claim & { readonly key: TrustedKey }
/** Something that may be a signature. @throws Error when it is none, or not one of the rule's keys. */
type Found = (check: Check) => Promise<Signed>

/** What may be a signature of the image, one after the other. @throws what the registry throws. */
async function* candidates(ctx: Context, evidence: Evidence): AsyncGenerator<Found> {
  const { digest } = evidence.target
  const tagged = digest.startsWith('sha256:')
    ? await evidence.tagged(ctx, `${digest.replace(':', '-')}.sig`)
    : undefined
  if (tagged) yield* layersOf(ctx, evidence, tagged, undefined)
  const types = [bundleType, signatureArtifact, emptyConfig]
  const referrers = await evidence.referrers(ctx, types)
  for (const referrer of referrers.slice(0, mostSignatures))
    yield* layersOf(ctx, evidence, referrer, digest)
}

/** @param subject what the manifest must be about; undefined when its tag says so. */
async function* layersOf(
  ctx: Context,
  evidence: Evidence,
  target: Descriptor,
  subject: string | undefined,
): AsyncGenerator<Found> {
  const manifest = await attempt(async () => await evidence.manifest(ctx, target))
  if (manifest instanceof Error) {
    yield async () => await Promise.reject(manifest)
    return
  }
  if (subject !== undefined && manifest.subject !== subject) {
    yield async () =>
      await Promise.reject(new Error(`manifest ${target.digest} is not about the image`))
    return
  }
  for (const layer of manifest.layers) {
    if (layer.mediaType === bundleType) {
      yield async ({ keys }) => parseBundle(await evidence.read(ctx, layer, mostBundleBytes), keys)
    } else if (layer.mediaType === simpleSigningType) {
      yield async ({ keys }) => await simpleSigned(ctx, evidence, layer, keys)
    }
  }
}

async function attempt<T>(body: () => Promise<T>): Promise<T | Error> {
  try {
    return await body()
  } catch (err) {
    return err instanceof Error ? err : new Error(String(err))
  }
}

async function simpleSigned(
  ctx: Context,
  evidence: Evidence,
  layer: Layer,
  keys: readonly TrustedKey[],
): Promise<Signed> {
  const signature = fromBase64(layer.annotations[signatureAnnotation])
  if (signature === undefined) {
    throw new Error(`the payload ${layer.digest} has no signature, or none in base64`)
  }
  const payload = await evidence.read(ctx, layer, mostPayloadBytes)
  const key = keys.find((candidate) => candidate.verifies(payload, signature))
  if (key === undefined) throw new Error(`it is signed by none of the rule's keys`)
  return { ...parseSimpleSigning(payload), key }
}

/** What is signed must be about this image, and be meant for its repository. @throws Error */
function checkClaim({ digest, repository }: Claim, check: Check): void {
  const { identity } = check.trust
  if (digest !== check.evidence.target.digest) {
    throw new Error(`it is a signature of another image, ${JSON.stringify(digest)}`)
  }
  if (identity === 'any') return
  const wanted = identity === 'repository' ? check.repository : identity
  if (repository === '') {
    throw new Error(
      `it does not say for which repository it is; where that is right, the rule has identity = "any"`,
    )
  }
  if (!isSameRepository(repository, wanted)) {
    throw new Error(`it is for ${JSON.stringify(repository)}, not for ${JSON.stringify(wanted)}`)
  }
}
