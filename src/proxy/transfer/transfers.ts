import { randomBytes } from 'node:crypto'

import type { Any } from '#core/any/any.ts'
import type { Context } from '#core/context.ts'
import type { CredentialSource } from '#core/remotes/remotes.ts'
import type {
  ArchiveSource,
  ExportOptions,
  ImageSource,
  ImageTarget,
  ReportProgress,
  TransferOptions,
} from '#core/transfer/transfer.ts'
import { Transfer } from '#gen/services/transfer_pb.ts'
import { ImageStoreSchema } from '#gen/types/transfer/imagestore_pb.ts'
import {
  ImageExportStreamSchema,
  ImageImportStreamSchema,
} from '#gen/types/transfer/importexport_pb.ts'
import { OCIRegistrySchema } from '#gen/types/transfer/registry_pb.ts'
import { raceAbort } from '#lib/async/mutex.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { callOptions } from '#proxy/call.ts'
import { pack } from '#proxy/convert/pack.ts'
import { platformToProto } from '#proxy/convert/platform.ts'
import { exportStreamToProto, imageTargetToProto } from '#proxy/convert/transfer.ts'

import { answerCredentials } from './answer-credentials.ts'
import { receiveBytes, sendBytes } from './byte-stream.ts'
import { hearProgress } from './hear-progress.ts'
import { RemoteStream } from './remote-stream.ts'

/** A registry as a client describes it: the daemon is who talks to it. */
export interface RegistrySettings {
  /** `docker.io/library/alpine:3.20`. */
  readonly reference: string
  /** Asked when a registry wants to know who one is. */
  readonly credentials?: CredentialSource
  /** Sent to the registry. */
  readonly headers?: Readonly<Record<string, string>>
  /** A directory of the daemon's machine with hosts.toml files; the daemon's own when absent. */
  readonly hostsDir?: string
  /** How registries that no file describes are spoken to; https when absent. */
  readonly scheme?: 'http' | 'https'
}

/**
 * Transfers that another daemon does. Whatever the transfer needs from here, credentials and bytes, it
 * gets over streams that live as long as the call.
 *
 * Every method throws `unimplemented` when that daemon has no such service, and as `Transferrer`.
 */
export class RemoteTransfers {
  readonly #connection: Connection

  constructor(connection: Connection) {
    this.#connection = connection
  }

  async pull(
    ctx: Context,
    from: RegistrySettings,
    into: ImageTarget,
    options: TransferOptions = {},
  ): Promise<void> {
    await using call = this.#begin(ctx)
    const source = await call.registry(from)
    await call.run(source, pack(ImageStoreSchema, imageTargetToProto(into)), options.onProgress)
  }

  async push(
    ctx: Context,
    { name, platforms = [] }: ImageSource,
    to: RegistrySettings,
    options: TransferOptions = {},
  ): Promise<void> {
    await using call = this.#begin(ctx)
    const destination = await call.registry(to)
    const source = pack(ImageStoreSchema, { name, platforms: platforms.map(platformToProto) })
    await call.run(source, destination, options.onProgress)
  }

  async import(
    ctx: Context,
    from: ArchiveSource,
    into: ImageTarget,
    options: TransferOptions = {},
  ): Promise<void> {
    await using call = this.#begin(ctx)
    const stream = await call.open('import')
    const { forceCompress = false } = from
    const source = pack(ImageImportStreamSchema, { stream: stream.id, forceCompress })
    const bytes = noting(from.bytes, call.fail)
    call.aside(async (own) => {
      await sendBytes(own, stream, bytes)
      stream.close()
    })
    await call.run(source, pack(ImageStoreSchema, imageTargetToProto(into)), options.onProgress)
  }

  /** The bytes of the archive. An error of the daemon comes instead of the end. */
  async *export(
    ctx: Context,
    images: readonly ImageSource[],
    options: ExportOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    await using call = this.#begin(ctx)
    const stream = await call.open('export')
    const extraReferences = images.map(({ name }) => ({ name }))
    const done = call.run(
      pack(ImageStoreSchema, { extraReferences }),
      pack(ImageExportStreamSchema, exportStreamToProto(stream.id, images, options)),
      options.onProgress,
    )
    yield* untilDone(call, stream, done)
    await done
  }

  async tag(ctx: Context, name: string, into: ImageTarget): Promise<void> {
    await using call = this.#begin(ctx)
    await call.run(
      pack(ImageStoreSchema, { name }),
      pack(ImageStoreSchema, imageTargetToProto(into)),
    )
  }

  #begin(ctx: Context): TransferCall {
    return new TransferCall(ctx, this.#connection)
  }
}

/** How long nothing may come from a daemon that has sent everything, in ms. */
const quietMs = 500

/**
 * The bytes that come over `stream`, until it ends, or the call `done` fails. containerd leaves the
 * stream open; when the call is over, no more than what is on its way can come.
 */
async function* untilDone(
  call: TransferCall,
  stream: RemoteStream,
  done: Promise<void>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const quiet = new AbortController()
  const ctx = { ...call.ctx, signal: AbortSignal.any([call.ctx.signal, quiet.signal]) }
  let timer: NodeJS.Timeout | undefined
  using scope = new DisposableStack()
  scope.defer(() => clearTimeout(timer))
  void whenDone()
  async function whenDone(): Promise<void> {
    try {
      await done
      timer = setTimeout(() => quiet.abort(), quietMs)
    } catch (err) {
      call.fail(err)
    }
  }
  try {
    for await (const bytes of receiveBytes(ctx, stream)) {
      yield bytes
      timer?.refresh()
    }
  } catch (err) {
    if (!quiet.signal.aborted) throw err
  }
}

/** `bytes`; that they cannot be read is also told to `note`. */
async function* noting(
  bytes: AsyncIterable<Uint8Array>,
  note: (err: unknown) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* bytes
  } catch (err) {
    note(err)
    throw err
  }
}

/** How long the last news of a transfer may come after its end, in ms. */
const lastNewsMs = 5000

/** One transfer with its streams. */
class TransferCall implements AsyncDisposable {
  readonly ctx: Context
  readonly #connection: Connection
  readonly #failed = new AbortController()
  readonly #streams = new AsyncDisposableStack()
  readonly #beside: Promise<void>[] = []

  constructor(ctx: Context, connection: Connection) {
    this.ctx = { ...ctx, signal: AbortSignal.any([ctx.signal, this.#failed.signal]) }
    this.#connection = connection
  }

  async open(purpose: string): Promise<RemoteStream> {
    const id = `${purpose}-${randomBytes(9).toString('base64url')}`
    return this.#streams.use(await RemoteStream.open(this.ctx, this.#connection, id))
  }

  /** Ends the call with `err`. */
  readonly fail = (err: unknown): void => this.#failed.abort(err)

  /**
   * Goes on until the call ends. That a stream breaks is no news: the daemon says why when it answers
   * the call.
   */
  aside(work: (ctx: Context) => Promise<void>): void {
    this.#beside.push(work(this.ctx).catch(() => undefined))
  }

  async registry(settings: RegistrySettings): Promise<Any> {
    const { reference, credentials, headers = {}, hostsDir = '', scheme = '' } = settings
    let authStream = ''
    if (credentials) {
      const stream = await this.open('creds')
      authStream = stream.id
      this.aside(async (ctx) => await answerCredentials(ctx, stream, credentials, this.fail))
    }
    return pack(OCIRegistrySchema, {
      reference,
      resolver: { authStream, headers: { ...headers }, hostDir: hostsDir, defaultScheme: scheme },
    })
  }

  /** @throws what the daemon answers, or what the call was made to fail with. */
  async run(source: Any, destination: Any, onProgress?: ReportProgress): Promise<void> {
    const stream = onProgress && (await this.open('progress'))
    const heard = stream && hearProgress(this.ctx, stream, onProgress, this.fail)
    const options = { progressStream: stream?.id ?? '' }
    const request = { source: { ...source }, destination: { ...destination }, options }
    try {
      await this.#connection.client(Transfer).transfer(request, callOptions(this.ctx))
      await raceAbort(heard ?? Promise.resolve(), AbortSignal.timeout(lastNewsMs))
    } catch (err) {
      this.#failed.signal.throwIfAborted()
      throw err
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#streams.disposeAsync()
    this.#failed.abort()
    await Promise.all(this.#beside)
  }
}
