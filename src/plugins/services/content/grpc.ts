import type { Store } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import { Content } from '#gen/services/content_pb.ts'
import { digestFault } from '#lib/digest/digest.ts'
import { CodedError } from '#lib/errors/errors.ts'
import { type RegisteredService, implement } from '#lib/rpc/rpc.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ApiPlugin, ContentService, type RpcContext } from '#plugins/types.ts'
import { blocks } from '#proxy/convert/blocks.ts'
import { infoFromProto, infoToProto, statusToProto } from '#proxy/convert/content.ts'

import { read } from './read.ts'
import { write } from './write.ts'

/** The service `containerd.services.content.v1.Content` over a store. */
export const contentApi = (store: Store): RegisteredService<RpcContext> =>
  implement(Content, {
    async info({ digest }, ctx) {
      checkDigest(digest)
      return { info: infoToProto(await store.info(ctx, digest)) }
    },
    async update({ info, updateMask }, ctx) {
      const given = infoFromProto(info)
      checkDigest(given.digest)
      return { info: infoToProto(await store.update(ctx, given, updateMask?.paths ?? [])) }
    },
    list: ({ filters }, ctx) => listBlocks(ctx, store, filters),
    async delete({ digest }, ctx) {
      const fault = digestFault(digest)
      if (fault !== undefined) throw new CodedError('invalid_argument', fault)
      await store.delete(ctx, digest)
      return {}
    },
    read: (request, ctx) => read(ctx, store, request),
    async status({ ref }, ctx) {
      try {
        return { status: statusToProto(await store.status(ctx, ref)) }
      } catch (err) {
        throw new Error(`could not get status for ref ${JSON.stringify(ref)}`, { cause: err })
      }
    },
    async listStatuses({ filters }, ctx) {
      return { statuses: (await store.listStatuses(ctx, filters)).map(statusToProto) }
    },
    write: (requests, ctx) => write(ctx, store, requests),
    async abort({ ref }, ctx) {
      await store.abort(ctx, ref)
      return {}
    },
  })

async function* listBlocks(ctx: Context, store: Store, filters: readonly string[]) {
  for await (const block of blocks(store.list(ctx, filters))) {
    yield { info: block.map(infoToProto) }
  }
}

function checkDigest(digest: string): void {
  if (digestFault(digest) === undefined) return
  throw new CodedError('invalid_argument', `${JSON.stringify(digest)} failed validation`)
}

/** `io.containerd.grpc.v1.content`. */
export const contentApiPlugin = definePlugin({
  type: ApiPlugin,
  id: 'content',
  requires: { content: ContentService },
  init: ({ deps }) => ({ grpc: [contentApi(deps.content)] }),
})
