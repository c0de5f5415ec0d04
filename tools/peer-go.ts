import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempDisposableSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { goPeerDirectory } from '#testing/nerdctl.ts'

/*
 * Builds nerdctl and BuildKit into `.peer/`, with the Go of this machine: no distribution has them.
 * It takes minutes, so nothing does it by itself; tests that need them are skipped until it was done.
 *
 *     node tools/peer-go.ts
 */

/** A module, and the commands of it. What is only for its own tests, and cannot be had, is left out. */
const modules = [
  {
    module: 'github.com/containerd/nerdctl/v2@v2.2.1',
    commands: ['nerdctl'],
    without: ['github.com/containerd/nerdctl/mod/tigron'],
    files: ['pkg/testutil', 'cmd/nerdctl/helpers/testing_linux.go'],
  },
  {
    module: 'github.com/moby/buildkit@v0.34.2',
    commands: ['buildkitd', 'buildctl'],
    without: [],
    files: [],
  },
] as const

// The modules below are checked by go.sum; whether these two are who they say, no database is asked.
const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-buildvcs=false', GOSUMDB: 'off' }
const cache = execFileSync('go', ['env', 'GOMODCACHE'], { env, encoding: 'utf8' }).trim()

for (const { module, commands, without, files } of modules) {
  process.stderr.write(`building ${commands.join(', ')} of ${module} ...\n`)
  execFileSync('go', ['mod', 'download', module], { env, stdio: 'inherit' })
  using scratch = mkdtempDisposableSync(join(tmpdir(), 'peer-go-'))
  const cwd = join(scratch.path, 'src')
  cpSync(join(cache, module), cwd, { recursive: true })
  execFileSync('chmod', ['-R', 'u+w', cwd])
  for (const file of files) rmSync(join(cwd, file), { recursive: true })
  const go = (...args: readonly string[]): void => {
    execFileSync('go', args, { cwd, env, stdio: ['ignore', 'inherit', 'inherit'] })
  }
  for (const name of without) {
    go('mod', 'edit', `-droprequire=${name}`, `-dropreplace=${name}@v0.0.0`)
  }
  mkdirSync(goPeerDirectory, { recursive: true })
  for (const command of commands) {
    const out = join(goPeerDirectory, command)
    go('build', '-trimpath', '-ldflags', '-s -w', '-o', out, `./cmd/${command}`)
  }
}
