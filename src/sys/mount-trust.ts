import { mountInfo } from './mount-info.ts'
import type { Mount } from './mount.ts'
import { splitOverlayOptions, unescapeLower } from './overlay-options.ts'

/** File systems that another program or machine answers for, which may never do that. */
const served = new Set(
  [
    '9p',
    'afs',
    'autofs',
    'beegfs',
    'ceph',
    'cifs',
    'fuse',
    'fuseblk',
    'lustre',
    'nfs',
    'nfs4',
  ].concat(['gfs2', 'ocfs2', 'orangefs', 'smb3', 'smbfs']),
)

const isServed = (type: string): boolean => served.has(type) || type.startsWith('fuse.')

/**
 * The first of the directories and files that these mounts are made of that somebody else has to
 * answer for, by what is mounted where: none of them is touched. A file system that is such itself
 * goes by its source.
 */
export function servedSource(mounts: readonly Mount[]): string | undefined {
  const foreign = mounts.find(({ type }) => isServed(type))
  if (foreign) return foreign.source
  const points = mountInfo().map(({ mountPoint, type }) => ({ mountPoint, served: isServed(type) }))
  if (!points.some((point) => point.served)) return undefined
  return mounts.flatMap(pathsOf).find((path) => {
    // Of those at one place the last is on top.
    const around = points.filter(({ mountPoint }) => isIn(path, mountPoint))
    const longest = Math.max(...around.map(({ mountPoint }) => mountPoint.length))
    return around.findLast(({ mountPoint }) => mountPoint.length === longest)?.served
  })
}

const isIn = (path: string, dir: string): boolean =>
  dir === '/' || path === dir || path.startsWith(`${dir}/`)

function pathsOf({ source, options }: Mount): readonly string[] {
  const { lower, others } = splitOverlayOptions(options)
  const written = others.flatMap((option) => /^(?:upperdir|workdir)=(.*)$/s.exec(option)?.[1] ?? [])
  return [source, ...lower.map(unescapeLower), ...written].filter((path) => path.startsWith('/'))
}
