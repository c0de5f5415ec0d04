import { invalidArgument } from '#lib/errors/errors.ts'

/**
 * A run of user or group ids: those inside a container, and those outside that they are. In text
 * `inside:outside:length`, several separated by commas.
 */
export interface IdRange {
  readonly inside: number
  readonly outside: number
  readonly length: number
}

/** No user or group: what system calls take for "leave it". */
const noId = 2 ** 32 - 1

/** @throws `invalid_argument`. */
export function parseIdMap(text: string): readonly IdRange[] {
  return text.split(',').map(parseRange)
}

function parseRange(text: string): IdRange {
  const [, ...parts] = /^(\d{1,10}):(\d{1,10}):(\d{1,10})$/.exec(text) ?? []
  const [inside, outside, length] = parts.map(Number)
  if (inside === undefined || outside === undefined || length === undefined) {
    throw invalidArgument(`input value ${text} unparsable: it is not "inside:outside:length"`)
  }
  if (
    Math.max(inside, outside, length) >= noId ||
    inside + length > noId ||
    outside + length > noId
  ) {
    throw invalidArgument(`invalid mapping ${JSON.stringify(text)}: ids end at ${noId - 1}`)
  }
  return { inside, outside, length }
}

/** The id outside that `id` inside is. @throws `invalid_argument` when it is none. */
export function idOutside(ranges: readonly IdRange[], id: number): number {
  for (const { inside, outside, length } of ranges) {
    if (id >= inside && id < inside + length) return outside + id - inside
  }
  throw invalidArgument(`container ID ${id} cannot be mapped to a host ID`)
}

/** As the kernel reads it, see user_namespaces(7). */
export const formatIdMap = (ranges: readonly IdRange[]): string =>
  ranges.map(({ inside, outside, length }) => `${inside} ${outside} ${length}\n`).join('')
