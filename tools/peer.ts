import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { peerDirectory } from '#testing/containerd.ts'

/*
 * Fetches containerd 2.x from Debian's unstable distribution into `.peer/`, without installing it:
 * the second judge of the tests and the second opponent of the benchmarks. The mirror is the one
 * that the machine's apt already uses.
 */

/** Fetches it unless it is there. @returns why not, when it can't be had. */
export function ensurePeer(): string | undefined {
  if (existsSync(join(peerDirectory, 'usr/bin/containerd'))) return undefined
  const mirror = debianMirror()
  if (mirror === undefined) return 'no Debian mirror in the sources of apt'
  try {
    process.stderr.write('fetching containerd 2.x from Debian unstable ...\n')
    fetchPackage(mirror)
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

function fetchPackage(mirror: string): void {
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
  run('download', 'containerd/sid')
  const deb = readdirSync(peerDirectory).find((name) => name.endsWith('.deb'))
  if (deb === undefined) throw new Error('no package came')
  execFileSync('dpkg', ['-x', deb, '.'], { cwd: peerDirectory })
}
