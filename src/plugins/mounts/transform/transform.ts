import type { Context } from '#core/context.ts'
import type { ActiveMount } from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'

import { makeDirectories } from './mkdir.ts'
import { makeFileSystem } from './mkfs.ts'
import { format } from './template.ts'

/** What transformers may use. */
export interface Transforming {
  /** Directories below which things may be made; absolute, without a slash at the end. */
  readonly roots: readonly string[]
  /** The mounts that came earlier in the list. */
  readonly before: readonly ActiveMount[]
}

type Transformer = (ctx: Context, mount: Mount, using: Transforming) => Mount | Promise<Mount>

const transformers = new Map<string, Transformer>([
  ['format', (_, mount, { before }) => formatMount(mount, before)],
  ['mkdir', (_, mount, { roots }) => makeDirectories(mount, roots)],
  ['mkfs', async (ctx, mount, { roots }) => await makeFileSystem(ctx, mount, roots)],
])

/** A type taken apart: `format/mkdir/overlay`. */
export interface ParsedType {
  readonly transforms: readonly string[]
  /** What is left, and mounted in the end. */
  readonly type: string
}

/** Takes the prefixes off that name transformers; one that is not known is part of the type. */
export function parseType(text: string): ParsedType {
  const transforms: string[] = []
  let type = text
  for (;;) {
    const slash = type.indexOf('/')
    const name = type.slice(0, Math.max(0, slash))
    if (!transformers.has(name)) return { transforms, type }
    transforms.push(name)
    type = type.slice(slash + 1)
  }
}

/** `mount` after all its transformers, in their order. @throws what they throw. */
export async function transform(ctx: Context, mount: Mount, using: Transforming): Promise<Mount> {
  const { transforms, type } = parseType(mount.type)
  let result: Mount = { ...mount, type }
  for (const name of transforms) {
    const transformer = transformers.get(name)
    if (transformer) result = await transformer(ctx, result, using)
  }
  return result
}

function formatMount(mount: Mount, before: readonly ActiveMount[]): Mount {
  const { source, target, options } = mount
  return {
    ...mount,
    source: format(source, before),
    ...(target === undefined ? {} : { target: format(target, before) }),
    options: options.map((option) => format(option, before)),
  }
}
