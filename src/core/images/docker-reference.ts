import { parseReference } from '#core/remotes/reference.ts'
import { digestFault } from '#lib/digest/digest.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

/*
 * Image names as people and Docker write them, and made complete: `alpine` is `docker.io/library/alpine:latest`.
 *
 *   [host[:port]/]path[:tag][@digest]
 *
 * Source: https://pkg.go.dev/github.com/distribution/reference
 */

const defaultHost = 'docker.io'
const officialPrefix = 'library/'
const defaultTag = 'latest'

const pathForm =
  /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const tagForm = /^[\w][\w.-]{0,127}$/
const hostForm =
  /^(?:(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])(?:\.(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]))*|\[[0-9a-fA-F:]+\])(?::\d+)?$/

/** The parts of a complete name. Tag and digest are empty when it has none. */
interface DockerName {
  readonly host: string
  readonly path: string
  readonly tag: string
  readonly digest: string
}

/**
 * Completes a name with the registry, the official prefix and a tag; a digest takes the place of the tag.
 *
 * @throws `invalid_argument` for what is no name.
 */
export function normalizeReference(name: string): string {
  const { host, path, tag, digest } = parse(name)
  return `${host}/${path}${digest === '' ? `:${tag || defaultTag}` : `@${digest}`}`
}

/** The shortest form that means the same, with a tag. @throws `invalid_argument` for what is no name. */
export function familiarReference(name: string): string {
  const { host, path, tag, digest } = parse(name)
  const bare = path.startsWith(officialPrefix) ? path.slice(officialPrefix.length) : path
  const short = host === defaultHost ? (bare.includes('/') ? path : bare) : `${host}/${path}`
  const ending = tag === '' && digest === '' ? `:${defaultTag}` : tag === '' ? '' : `:${tag}`
  return `${short}${ending}${digest === '' ? '' : `@${digest}`}`
}

/**
 * What OCI's `ref.name` annotation says of an image: its tag, or `@` and its digest; the whole name when it has a
 * form of its own. Source: upstream `core/images/archive/reference.go`, `ociReferenceName`.
 */
export function refNameOf(name: string): string {
  try {
    return parseReference(name).object
  } catch {
    // Not of that form, so there is no part to take.
    return name
  }
}

function parse(name: string): DockerName {
  const bad = (why: string): Error =>
    invalidArgument(`invalid reference ${JSON.stringify(name)}: ${why}`)
  if (/^[a-f0-9]{64}$/.test(name)) throw bad('a name cannot be 64 hexadecimal digits')
  const [named = '', digest] = splitOnce(name, name.indexOf('@'))
  if (digest !== undefined && digestFault(digest) !== undefined) throw bad('its digest is none')
  const { host, rest } = splitHost(named)
  const [short = '', tag] = splitOnce(rest, rest.indexOf(':'))
  if (tag !== undefined && !tagForm.test(tag)) throw bad(`${JSON.stringify(tag)} is not a tag`)
  const path = host === defaultHost && !short.includes('/') ? `${officialPrefix}${short}` : short
  if (short.toLowerCase() !== short) throw bad('repository name must be lowercase')
  if (!pathForm.test(path)) throw bad('it names no repository')
  if (!hostForm.test(host)) throw bad(`${JSON.stringify(host)} is not a host name`)
  return { host, path, tag: tag ?? '', digest: digest ?? '' }
}

const splitOnce = (text: string, at: number): readonly string[] =>
  at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)]

/** The first part is a host when it looks like one: a dot or a port, `localhost`, or upper case. */
function splitHost(name: string): { readonly host: string; readonly rest: string } {
  const slash = name.indexOf('/')
  const first = slash < 0 ? '' : name.slice(0, slash)
  const isHost = /[.:]/.test(first) || first === 'localhost' || first.toLowerCase() !== first
  if (!isHost) return { host: defaultHost, rest: name }
  return {
    host: first === 'index.docker.io' ? defaultHost : first,
    rest: name.slice(slash + 1),
  }
}
