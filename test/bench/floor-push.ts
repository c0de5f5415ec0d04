import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { run } from '#testing/daemon.ts'

/** As many at once as containerd sends unless it is told otherwise. */
const atOnce = '3'

/** What no daemon can be faster than: curl sends the blobs of an image, and nothing else. */
export interface PushFloor extends AsyncDisposable {
  /** Sends them to a repository that has none of them. @returns seconds */
  readonly push: (repository: string) => Promise<number>
}

/** Takes the blobs out of the archive `file`, for the registry at `host`. */
export async function openPushFloor(host: string, file: string): Promise<PushFloor> {
  await using scope = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'bench-push-'))
  scope.defer(async () => await rm(dir, { recursive: true }))
  await succeed('tar', '-xf', file, '-C', dir)
  const blobs = join(dir, 'blobs/sha256')
  const names = await readdir(blobs)
  const owned = scope.move()
  return {
    push: async (repository) => {
      const lines: string[] = []
      for (const name of names) {
        const location = await beginUpload(`http://${host}/v2/${repository}/blobs/uploads/`)
        lines.push(`url = "${location}&digest=sha256:${name}"`)
        lines.push(`upload-file = "${join(blobs, name)}"`, 'output = "/dev/null"', 'next')
      }
      const config = join(dir, 'config')
      await writeFile(config, lines.slice(0, -1).join('\n'))
      await succeed('sync')
      const start = performance.now()
      await succeed('curl', '-sSfZ', '--parallel-max', atOnce, '-K', config)
      return (performance.now() - start) / 1000
    },
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  }
}

async function beginUpload(url: string): Promise<string> {
  const { headers } = await fetch(url, { method: 'POST', signal: AbortSignal.timeout(30_000) })
  const location = headers.get('location')
  if (location === null) throw new Error(`${url}: no upload was begun`)
  return location
}

async function succeed(program: string, ...args: readonly string[]): Promise<void> {
  const { code, stderr } = await run(program, args, { timeoutMs: 120_000 })
  if (code !== 0) throw new Error(`${program}: ${stderr}`)
}
