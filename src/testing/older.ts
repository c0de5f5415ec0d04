import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const checkout = fileURLToPath(new URL('../..', import.meta.url))
/** How many changes ago, as long as there is no release. */
const back = 30

const git = (...args: readonly string[]): string =>
  execFileSync('git', ['-C', checkout, ...args], { encoding: 'utf8', stdio: 'pipe' }).trim()

/** An older state of this repository: `UPGRADE_FROM`, or the last release; nothing without history. */
export function olderCommit(): string | undefined {
  const named = process.env['UPGRADE_FROM']
  for (const name of named ? [named] : [lastTag(), `HEAD~${back}`]) {
    try {
      if (name) return git('rev-parse', '--verify', '--quiet', `${name}^{commit}`)
    } catch {
      // A checkout without history, or a copy that is none.
    }
  }
  return undefined
}

function lastTag(): string | undefined {
  try {
    return git('describe', '--tags', '--abbrev=0', 'HEAD~1')
  } catch {
    return undefined
  }
}

/** Writes the program of `commit` below `dir`, to run with this checkout's packages. @returns its `wharfd.mjs` */
export function checkOut(commit: string, dir: string): string {
  const [tree, archive] = [join(dir, 'older'), join(dir, 'older.tar')]
  mkdirSync(tree)
  git('archive', '--output', archive, commit, 'bin', 'src', 'package.json')
  execFileSync('tar', ['-xf', archive, '-C', tree])
  symlinkSync(join(checkout, 'node_modules'), join(tree, 'node_modules'))
  return join(tree, 'bin', 'wharfd.mjs')
}
