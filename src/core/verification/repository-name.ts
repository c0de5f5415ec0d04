import { parsePullable } from '#core/remotes/reference.ts'

/*
 * One repository has many spellings, and a rule is about all of them:
 *
 *   alpine   Alpine:3.20   library/alpine@sha256:…   index.docker.io/library/alpine   DOCKER.IO:443/alpine
 *                                   └──► docker.io/library/alpine
 *
 * Hosts are compared as URLs are: without case, without the port of HTTPS, addresses in one form.
 * Paths are compared without case, though registries take lower case only.
 */

/** Other names of the host behind `docker.io`. */
const dockerHosts = new Set([
  'docker.io',
  'index.docker.io',
  'registry-1.docker.io',
  'registry.hub.docker.com',
])

/**
 * The repositories that an image name may mean, spelled in one way: `docker.io/library/alpine`. There
 * are two when the first part of the name may be a host or a user of Docker Hub: containerd takes
 * `team/app` for a host, Docker for a user.
 *
 * @returns undefined for what is not the name of an image in a registry.
 */
export function repositoriesOf(name: string): readonly string[] | undefined {
  try {
    const readings = readingsOf(name).map(canonical)
    return readings.includes(undefined) ? undefined : [...new Set(readings)].filter(isText)
  } catch {
    return undefined
  }
}

/** Whether two names are of the same repository, however they are spelled. */
export function isSameRepository(a: string, b: string): boolean {
  const others = repositoriesOf(b) ?? []
  return (repositoriesOf(a) ?? []).some((repository) => others.includes(repository))
}

const isText = (value: string | undefined): value is string => value !== undefined

function readingsOf(name: string): readonly string[] {
  // Without a name there is nothing to complete.
  if (!/^[^:@/]/.test(name)) return [name]
  const slash = name.indexOf('/')
  if (slash < 0) return [`docker.io/library/${name}`]
  const first = name.slice(0, slash)
  const isHost = /[.:[]/.test(first) || first.toLowerCase() === 'localhost'
  return isHost ? [name] : [name, `docker.io/${name}`]
}

function canonical(name: string): string | undefined {
  const { host, repository } = parsePullable(name)
  const known = canonicalHost(host)
  if (known === undefined) return undefined
  const path = repository.toLowerCase()
  return known === 'docker.io' && !path.includes('/')
    ? `${known}/library/${path}`
    : `${known}/${path}`
}

/** A host in one spelling; undefined for what is none. */
export function canonicalHost(host: string): string | undefined {
  const url = URL.parse(`https://${host}`)
  if (url === null || url.href !== `https://${url.host}/`) return undefined
  return dockerHosts.has(url.host) ? 'docker.io' : url.host
}
