import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'

import { create, toBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'

import type { Any } from '#core/any/any.ts'
import type { Store } from '#core/content/content.ts'
import { type Context, forCleanup, namespaceOf } from '#core/context.ts'
import type { Differ } from '#core/diff/diff.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Mount } from '#core/mount/mount.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'

/** What `Checkpoint` writes. Source: upstream `core/images/mediatypes.go`. */
export const checkpointTypes = {
  images: 'application/vnd.containerd.container.criu.checkpoint.criu.tar',
  spec: 'application/vnd.containerd.container.checkpoint.config.v1+proto',
} as const

/** What the differ knows as an archive without compression. */
const archiveType = 'application/vnd.oci.image.layer.v1.tar'

/**
 * Checkpoints in the content store: an archive of criu's images, and the spec of the container.
 *
 *   <dir>/<namespace>/<id>    images that a task is restored from, until it has started
 *   <dir>/making-XXXXXX       images that are being made
 */
export class Checkpoints {
  readonly #dir: string
  readonly #content: Store
  readonly #differ: Differ

  constructor(dir: string, parts: { readonly content: Store; readonly differ: Differ }) {
    this.#dir = dir
    this.#content = parts.content
    this.#differ = parts.differ
  }

  /** Keeps the images that `make` writes, and `spec`. @returns the descriptors of both. */
  async save(
    ctx: Context,
    spec: Any,
    make: (path: string) => Promise<void>,
  ): Promise<readonly Descriptor[]> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 })
    await using scope = new AsyncDisposableStack()
    const path = scope.adopt(await mkdtemp(join(this.#dir, 'making-')), remove)
    await make(path)
    const options = { mediaType: archiveType, ref: path }
    const archive = await this.#differ.compare(ctx, [], [bind(path)], options)
    const images = { ...archive, mediaType: checkpointTypes.images }
    return [images, await this.#write(ctx, join(path, 'spec'), spec)]
  }

  /** Extracts the images of a checkpoint for container `id`. @returns their directory. */
  async restore(ctx: Context, id: string, images: Descriptor): Promise<string> {
    const path = this.#pathOf(ctx, id)
    await remove(path)
    await mkdir(path, { recursive: true, mode: 0o700 })
    await this.#differ.apply(ctx, { ...images, mediaType: archiveType }, [bind(path)])
    return path
  }

  /** The container has started, or will not: its images are not needed any more. */
  async restored(ctx: Context, id: string): Promise<void> {
    const path = this.#pathOf(ctx, id)
    if (!existsSync(path)) return
    try {
      await remove(path)
    } catch (err) {
      ctx.log.error('cannot remove the images of a checkpoint', { id, error: describe(err) })
    }
  }

  async #write(ctx: Context, ref: string, spec: Any): Promise<Descriptor> {
    const bytes = toBinary(AnySchema, create(AnySchema, spec))
    await using writer = await this.#content.writer(ctx, { ref, mediaType: checkpointTypes.spec })
    await writer.write(ctx, bytes)
    const digest = writer.digest()
    try {
      await writer.commit(ctx, { size: bytes.length })
    } catch (err) {
      if (!hasCode(err, 'already_exists')) throw err
      await this.#content.abort(forCleanup(ctx), ref)
    }
    return { mediaType: checkpointTypes.spec, digest, size: bytes.length }
  }

  #pathOf(ctx: Context, id: string): string {
    return join(this.#dir, namespaceOf(ctx), id)
  }
}

const bind = (source: string): Mount => ({ type: 'bind', source, options: ['rbind', 'rw'] })

const remove = async (path: string): Promise<void> =>
  await rm(path, { recursive: true, force: true })
