import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'

/*
 * Remotes are where images come from and go to.
 *
 *   reference   docker.io/library/alpine:3.20            what people write
 *      │        └ locator ─────────────┘ └ object: tag, tag@digest or @digest
 *      ▼ resolve                        asks hosts that are trusted to say what a name means
 *   descriptor  { mediaType, digest, size }
 *      ▼ fetch                          asks any host: bytes are checked against the digest
 *   bytes
 *
 * A registry (`docker.io`) is served by several hosts, tried in order: mirrors first, the registry
 * itself last. What a host may be asked for is its capabilities. When one fails, the next is asked,
 * and the error that came furthest is what the caller hears.
 *
 * Nothing here hashes: whoever writes the bytes into a content store does, and commits them under
 * the digest that was asked for. What is read here itself (an index of referrers, a manifest
 * without a digest header) has a bound of 4 MB.
 *
 * To read one large blob over several connections, call `fetch` for its ranges. To read in a worker,
 * make a client there from the `profiles` of this one, and a `CredentialSource` that asks its parent.
 */

/** What a reference means now. */
export interface Resolution {
  /** The reference as it was given. */
  readonly name: string
  readonly target: Descriptor
  /** The host that said so. */
  readonly host: string
}

/** Which bytes of a blob. */
export interface FetchOptions {
  /** The first byte; 0 when absent. */
  readonly offset?: number
  /** How many bytes; to the end when absent. */
  readonly length?: number
}

/**
 * Bytes on their way. Iterate once; leaving the loop early, or disposing, gives up the connection.
 *
 * A connection that breaks is taken up again where it was, without the reader noticing. Reading
 * throws `unavailable` when that does not help, `data_loss` when a host sends more than it announced.
 */
export interface Body extends AsyncIterable<Uint8Array>, AsyncDisposable {
  /** The host that sends them. */
  readonly host: string
  /** How many will come; undefined when the host did not say. */
  readonly size: number | undefined
  /** Whether the host sends nothing but the part that was asked for: then more parts can be asked for at once. */
  readonly isPart: boolean
}

/** Asks for content by its digest alone. */
export interface FetchByDigestOptions extends FetchOptions {
  /** What it is, if known: put into `Accept` and into the descriptor. */
  readonly mediaType?: string
}

export interface ReferrersOptions {
  /** Only those of one of these types; all when empty. */
  readonly artifactTypes?: readonly string[]
}

/** Something that refers to a manifest: a signature, a bill of materials. */
export interface Referrer extends Descriptor {
  readonly artifactType?: string | undefined
}

/** Reads content of one repository. */
export interface Fetcher {
  /**
   * Opens the content of `target`: a manifest or index by its media type, anything else as a blob.
   *
   * @throws `not_found`, `unauthenticated`, `permission_denied`, `resource_exhausted` (a rate
   * limit), `unavailable`, `out_of_range` for an offset behind the end.
   */
  fetch(ctx: Context, target: Descriptor, options?: FetchOptions): Promise<Body>
  /** As `fetch`, for content of which only the digest is known: asks for a blob, then for a manifest. */
  fetchByDigest(
    ctx: Context,
    digest: string,
    options?: FetchByDigestOptions,
  ): Promise<{ readonly target: Descriptor; readonly body: Body }>
  /** What refers to `digest`; nothing when the registry knows of nothing. */
  referrers(ctx: Context, digest: string, options?: ReferrersOptions): Promise<readonly Referrer[]>
}

/**
 * Gives the bytes of what is pushed, from `offset` on; called again when they must be sent again. When the next
 * piece is asked for, one of 64 KB or more has gone to the system, and its memory is the source's again.
 */
export type Source = (offset: number) => Iterable<Uint8Array> | AsyncIterable<Uint8Array>

export interface PushOptions {
  /** Repositories of the same registry that may have the blob, best first: see `mountCandidates`. */
  readonly mountFrom?: readonly string[]
  /** Send blobs in pieces of this many bytes; in one piece when 0 or absent. */
  readonly chunkSize?: number
  /** Waits for leave to send what the registry does not have; it is disposed when that is there. */
  readonly turn?: ((ctx: Context) => Promise<Disposable>) | undefined
  /** Hears how many bytes the registry has taken. */
  readonly onProgress?: (sent: number) => void
}

export interface PushResult {
  /** `exists`: it was there before. `mounted`: the registry took it from another repository. */
  readonly outcome: 'pushed' | 'exists' | 'mounted'
  /** For `mounted`: the repository it came from. */
  readonly from?: string
}

/** Writes content into one repository. */
export interface Pusher {
  /**
   * Sends what `target` describes, unless it is there. A manifest gets the tag of the reference,
   * unless the reference also has a digest and it is another one.
   *
   * @throws as `Fetcher.fetch`; `failed_precondition` when `source` is not what `target` says;
   * `data_loss` when the registry says it has received something else.
   */
  push(ctx: Context, target: Descriptor, source: Source, options?: PushOptions): Promise<PushResult>
}

/** Registries, behind references. Every method throws `invalid_argument` for a bad reference. */
export interface Remotes extends AsyncDisposable {
  /**
   * What `reference` means. With a digest, any host that may be pulled from is asked how large and of
   * what type it is; without one, only hosts trusted to resolve are asked.
   *
   * @throws `not_found`, and as `Fetcher.fetch`.
   */
  resolve(ctx: Context, reference: string): Promise<Resolution>
  fetcher(ctx: Context, reference: string): Promise<Fetcher>
  pusher(ctx: Context, reference: string): Promise<Pusher>
}

/** How one proves who one is. */
export type Credentials =
  | { readonly kind: 'password'; readonly username: string; readonly secret: string }
  /** Exchanged for tokens where the registry says: Docker calls it an identity token. */
  | { readonly kind: 'refresh'; readonly token: string }
  /** Sent as it is, as the value of `Authorization`. */
  | { readonly kind: 'header'; readonly value: string }

/** Finds the credentials for `host` (`registry-1.docker.io`, `localhost:5000`); undefined for none. */
export type CredentialSource = (
  ctx: Context,
  host: string,
) => Promise<Credentials | undefined> | Credentials | undefined
