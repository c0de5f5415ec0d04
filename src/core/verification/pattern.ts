import { invalidArgument } from '#lib/errors/errors.ts'

import { canonicalHost } from './repository-name.ts'

/** Which repositories a rule is about. */
export interface Pattern {
  /** As it was written. */
  readonly text: string
  /** Whether it is about `repository`, which is in the one spelling of `repositoriesOf`. */
  matches(repository: string): boolean
}

/**
 * Reads a pattern of repositories: `docker.io/library/*`, `registry.example/team/**`, `*.example/**`.
 *
 * `*` is any part of one segment, `**` any number of segments, one at least. It begins with the registry,
 * or is `**` alone. There are no tags and no digests in it: a rule is about all names of an image.
 *
 * @throws `invalid_argument`, saying what is wrong with it.
 */
export function parsePattern(text: string): Pattern {
  const bad = (why: string): Error =>
    invalidArgument(`image pattern ${JSON.stringify(text)}: ${why}`)
  if (text === '**') return { text, matches: () => true }
  const [first = '', ...path] = text.split('/')
  if (path.length === 0 || path.includes('')) {
    throw bad('it is not <registry>/<repository>, as in "docker.io/library/*"')
  }
  if (path.some((segment) => /[:@]/.test(segment))) {
    throw bad('it has a tag or a digest; a rule is about all of them, so leave it out')
  }
  const wrong = path.find((segment) => !/^(?:\*\*|[A-Za-z0-9._*-]+)$/.test(segment))
  if (wrong !== undefined) throw bad(`${JSON.stringify(wrong)} is not a part of a name`)
  if (path.some((segment) => segment !== '**' && segment.includes('**'))) {
    throw bad('"**" stands for whole segments')
  }
  const host = hostOf(first)
  if (host === undefined) {
    throw bad(`it begins with ${JSON.stringify(first)}, which is no registry, such as "docker.io"`)
  }
  const isShortHub = host === 'docker.io' && path.length === 1 && path[0] !== '**'
  const segments = isShortHub ? ['library', ...path] : path
  const source = [host, ...segments].map(segmentSource).join('/')
  const regex = new RegExp(`^${source}$`)
  return { text, matches: (repository) => regex.test(repository) }
}

/** A host, with or without wildcards, in one spelling. */
function hostOf(text: string): string | undefined {
  if (!text.includes('*')) {
    const isHost = /[.:[]/.test(text) || text.toLowerCase() === 'localhost'
    return isHost ? canonicalHost(text) : undefined
  }
  const lower = text.toLowerCase().replace(/:443$/, '')
  return /^[a-z0-9._*-]+(?::[0-9*]+)?$/.test(lower) && !lower.includes('**') ? lower : undefined
}

const segmentSource = (segment: string): string =>
  segment === '**'
    ? '.+'
    : segment
        .toLowerCase()
        .replaceAll(/[.+?^${}()|[\]\\]/g, String.raw`\$&`)
        .replaceAll('*', '[^/]*')
