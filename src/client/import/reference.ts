/*
 * Image names as Docker writes them, made complete: `alpine` is `docker.io/library/alpine:latest`.
 *
 *   [host[:port]/]path[:tag][@digest]
 */

const defaultHost = 'docker.io'
const officialPrefix = 'library/'
const defaultTag = 'latest'

/** Completes a name with the registry, the official prefix and a tag. Source: upstream `reference/docker`. */
export function normalizeReference(name: string): string {
  const [withoutDigest = '', digest] = name.split('@', 2)
  const { host, path } = splitHost(withoutDigest)
  const full = host === defaultHost && !path.includes('/') ? `${officialPrefix}${path}` : path
  if (digest !== undefined) return `${host}/${full.replace(/:[^/:]*$/, '')}@${digest}`
  const tagged = /:[^/]+$/.test(full) ? full : `${full}:${defaultTag}`
  return `${host}/${tagged}`
}

/** The part of a complete name that OCI's `ref.name` annotation takes: its tag. */
export function tagOf(name: string): string {
  const tag = /:([^/:@]+)$/.exec(name)?.[1]
  return name.includes('@') || tag === undefined ? name : tag
}

/** The first part is a host when it looks like one: it has a dot or a port, or is `localhost`. */
function splitHost(name: string): { readonly host: string; readonly path: string } {
  const slash = name.indexOf('/')
  const first = slash < 0 ? '' : name.slice(0, slash)
  const isHost = first.includes('.') || first.includes(':') || first === 'localhost'
  if (!isHost) return { host: defaultHost, path: name }
  const host = first === 'index.docker.io' ? defaultHost : first
  return { host, path: name.slice(slash + 1) }
}
