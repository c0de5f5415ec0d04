import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { peerDirectory } from '#testing/containerd.ts'

/*
 * Fetches programs from Debian's unstable distribution into `.peer/`, without installing them:
 * containerd 2.x, the second judge of the tests and the second opponent of the benchmarks, and Docker
 * with BuildKit, which works on top of either, and cosign and notation, which sign images. The mirror is the one that the machine's apt already uses.
 */

/** Packages, each with a program that is there when it has been unpacked. */
const packages: Readonly<Record<string, string>> = {
  containerd: 'usr/bin/containerd',
  'docker.io': 'usr/sbin/dockerd',
  'docker-cli': 'usr/bin/docker',
  'docker-buildx': 'usr/libexec/docker/cli-plugins/docker-buildx',
  cosign: 'usr/bin/cosign',
  notation: 'usr/bin/notation',
}

/** Fetches what is not there. @returns why not, when it can't be had. */
export function ensurePeer(): string | undefined {
  const missing = Object.entries(packages)
    .filter(([, program]) => !existsSync(join(peerDirectory, program)))
    .map(([name]) => name)
  if (missing.length === 0) return undefined
  const mirror = debianMirror()
  if (mirror === undefined) return 'no Debian mirror in the sources of apt'
  try {
    process.stderr.write(`fetching ${missing.join(', ')} from Debian unstable ...\n`)
    fetchPackages(mirror, missing)
    return undefined
  } catch (err) {
    return `apt-get could not fetch it: ${err instanceof Error ? err.message : String(err)}`
  }
}

function debianMirror(): string | undefined {
  const files = ['/etc/apt/sources.list', ...list('/etc/apt/sources.list.d')]
  const text = files.map((file) => (existsSync(file) ? readFileSync(file, 'utf8') : '')).join('\n')
  return text.match(/https?:\/\/[^\s]+\/debian\/?(?=\s|$)/)?.[0]
}

const list = (dir: string): string[] =>
  existsSync(dir) ? readdirSync(dir).map((name) => join(dir, name)) : []

function fetchPackages(mirror: string, names: readonly string[]): void {
  const lists = join(peerDirectory, 'lists')
  mkdirSync(join(lists, 'partial'), { recursive: true })
  const sources = join(peerDirectory, 'sid.list')
  writeFileSync(sources, `deb ${mirror} sid main\n`)
  const options = ['-qq', `-oDir::Etc::sourcelist=${sources}`, '-oDir::Etc::sourceparts=/dev/null']
  const run = (...args: string[]): void => {
    execFileSync('apt-get', [...options, `-oDir::State::Lists=${lists}`, ...args], {
      cwd: peerDirectory,
      stdio: ['ignore', 'ignore', 'pipe'],
    })
  }
  run('update')
  run('download', ...names.map((name) => `${name}/sid`))
  for (const deb of readdirSync(peerDirectory).filter((name) => name.endsWith('.deb'))) {
    execFileSync('dpkg', ['-x', deb, '.'], { cwd: peerDirectory })
    rmSync(join(peerDirectory, deb))
  }
}
