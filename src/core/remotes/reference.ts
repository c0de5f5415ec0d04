import { digestFault } from '#lib/digest/digest.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

/*
 *   localhost:5000/team/app:1.2@sha256:9f86…
 *   └── host ────┘ └ repo ┘ └tag┘ └ digest ┘
 *   └── locator ──────────┘ └── object ────┘
 *
 * Source: upstream `pkg/reference/reference.go`. Nothing is added to a name here: `alpine` is a host
 * without a repository. Completing what people type is `core/images/docker-reference.ts`.
 */

export interface Reference {
  /** As given. */
  readonly text: string
  readonly host: string
  /** Path of the repository below the host; empty when there is none. */
  readonly repository: string
  /** Empty, `tag`, `tag@digest` or `@digest`. */
  readonly object: string
  /** Empty when there is none. */
  readonly tag: string
  /** Empty when there is none; not checked. */
  readonly digest: string
}

/** Splits a reference. @throws `invalid_argument`, quoting it and saying what is wrong. */
export function parseReference(text: string): Reference {
  const bad = (why: string): Error =>
    invalidArgument(`invalid reference ${JSON.stringify(text)}: ${why}`)
  if (text.includes('://')) throw bad('it must not have a scheme; leave out "https://"')
  if (/[\s\p{Cc}]/u.test(text)) throw bad('it has spaces or control characters')
  if (/[?#%\\]/.test(text)) throw bad('it has one of ? # % \\')
  const [, host = '', path = ''] = /^([^/]*)(.*)$/.exec(text) ?? []
  if (host === '') throw bad('hostname required, as in "docker.io/library/alpine:latest"')
  if (!hostPattern.test(host)) throw bad(`${JSON.stringify(host)} is not a host name${hint(host)}`)
  const split = path.search(/[:@]/)
  const repository = (split < 0 ? path : path.slice(0, split)).replace(/^\/|\/$/g, '')
  const object = split < 0 ? '' : path.slice(path[split] === ':' ? split + 1 : split)
  const at = object.indexOf('@')
  const [tag, digest] = at < 0 ? [object, ''] : [object.slice(0, at), object.slice(at + 1)]
  return { text, host, repository, object, tag, digest }
}

/** A host name, an IPv4 address, or an IPv6 address in brackets; with or without a port. */
const hostPattern =
  /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?)(?::\d{1,5})?$/

const hint = (host: string): string =>
  /^[^:@]+[:@]/.test(host)
    ? '; a complete reference begins with the registry, as in "docker.io/library/alpine:latest"'
    : ''

/**
 * A reference that can be asked for: it has a repository, and nothing in it changes the path of a URL.
 *
 * Source: OCI distribution-spec, "Pulling manifests" (`<name>`, `<reference>`).
 * @throws `invalid_argument`
 */
export function parsePullable(text: string): Reference {
  const reference = parseReference(text)
  const { repository, tag, digest } = reference
  const bad = (why: string): Error =>
    invalidArgument(`invalid reference ${JSON.stringify(text)}: ${why}`)
  if (repository === '') throw bad('it names no repository')
  if (!repository.split('/').every(isSegment)) {
    throw bad(`${JSON.stringify(repository)} is not the name of a repository`)
  }
  if (tag !== '' && !tagPattern.test(tag)) throw bad(`${JSON.stringify(tag)} is not a tag`)
  const fault = digest === '' ? undefined : digestFault(digest)
  if (fault !== undefined) throw bad(`${fault} ${JSON.stringify(digest)}`)
  return reference
}

const isSegment = (name: string): boolean => /^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(name)
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/

/** `host` without its port. */
export const withoutPort = (host: string): string => host.replace(/:\d+$/, '')

/** Whether `host`, with or without a port, is this machine itself. Source: upstream `IsLocalhost`. */
export function isLoopback(host: string): boolean {
  const name = withoutPort(host).replace(/^\[|\]$/g, '')
  return name === 'localhost' || name === '::1' || /^127(?:\.\d{1,3}){3}$/.test(name)
}
