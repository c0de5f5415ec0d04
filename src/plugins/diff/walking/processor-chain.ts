import { create, toBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'

import type { Any } from '#core/any/any.ts'
import type { StreamProcessor } from '#core/diff/processors.ts'

import type { ProcessorStep } from './jobs.ts'
import { ociLayer } from './media-type.ts'

/** The programs that a layer goes through, and what comes out of the last. */
export interface ProcessorChain {
  readonly steps: readonly ProcessorStep[]
  readonly mediaType: string
}

/**
 * Which programs turn a layer of type `mediaType` into one that is understood here: each takes what
 * the one before makes, until none takes it or it is a plain archive.
 *
 * The one that is configured last is asked first, as upstream does. None is used twice for one
 * layer: a program that only looks at a layer may return the type it accepts.
 */
export function chainOf(
  mediaType: string,
  processors: readonly StreamProcessor[],
  payloads: Readonly<Record<string, Any>>,
): ProcessorChain {
  const left = processors.toReversed()
  const steps: ProcessorStep[] = []
  let type = mediaType
  do {
    const at = left.findIndex(({ accepts }) => accepts.includes(type))
    const [next] = at < 0 ? [] : left.splice(at, 1)
    if (!next) break
    const payload = Object.hasOwn(payloads, next.id) ? payloads[next.id] : undefined
    const { id, path, args, env } = next
    steps.push({ id, path, args, env, mediaType: type, payload: payload && encode(payload) })
    type = next.returns
  } while (type !== ociLayer)
  return { steps, mediaType: type }
}

const encode = ({ typeUrl, value }: Any): Uint8Array =>
  toBinary(AnySchema, create(AnySchema, { typeUrl, value }))
