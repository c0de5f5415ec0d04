import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Where `tools/peer.ts` unpacks containerd 2.x. */
export const peerDirectory: string = fileURLToPath(new URL('../../.peer', import.meta.url))

/** One installation of the real thing. */
export interface Containerd {
  /** As its `--version` says: `1.6.20`, `2.1.9`. */
  readonly version: string
  /** Major version. */
  readonly major: number
  readonly containerd: string
  readonly ctr: string
  readonly shim: string
}

/** Debian's own containerd (1.6), if it is installed. */
export const containerd1 = (): Containerd | undefined => installation('/usr/bin')

/** containerd 2.x, if it was fetched. */
export const containerd2 = (): Containerd | undefined =>
  installation(join(peerDirectory, 'usr/bin'))

/** Every containerd there is to compare with. */
export const everyContainerd = (): readonly Containerd[] =>
  [containerd1(), containerd2()].filter((found) => found !== undefined)

function installation(dir: string): Containerd | undefined {
  const containerd = join(dir, 'containerd')
  if (!existsSync(containerd)) return undefined
  const text = execFileSync(containerd, ['--version'], { encoding: 'utf8' })
  const version = text.match(/\bv?(\d+\.\d+\.\d+)/)?.[1] ?? '0.0.0'
  return {
    version,
    major: Number.parseInt(version, 10),
    containerd,
    ctr: join(dir, 'ctr'),
    shim: join(dir, 'containerd-shim-runc-v2'),
  }
}
