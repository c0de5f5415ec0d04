import { dirname } from 'node:path'

const key = 'lowerdir='

/** The options of an overlay with the directories below taken out, as they are written there. */
export interface OverlayOptions {
  /** Nearest first; `:` and `\` in names are escaped by a backslash. */
  readonly lower: readonly string[]
  readonly others: readonly string[]
}

/** Options of which the last `lowerdir` counts, as in the kernel. */
export function splitOverlayOptions(options: readonly string[]): OverlayOptions {
  const last = options.findLast((option) => option.startsWith(key))
  return {
    lower: last?.slice(key.length).match(/(?:\\.|[^:\\])+/gs) ?? [],
    others: options.filter((option) => !option.startsWith(key)),
  }
}

export const joinOverlayOptions = ({ lower, others }: OverlayOptions): readonly string[] => [
  ...others,
  `${key}${lower.join(':')}`,
]

/** The name of a directory, for those who do not take it out of a list. */
export const unescapeLower = (dir: string): string => dir.replaceAll(/\\(.)/gs, '$1')

/** Where all of `dirs` are, and what each is called there. */
export interface Beside {
  /** Not escaped; `/` when there is nothing nearer. */
  readonly common: string
  readonly names: readonly string[]
}

/** Absolute directories, as names in what holds all of them. */
export function beside(dirs: readonly string[]): Beside {
  let common = dirname(dirs[0] ?? '/')
  const holds = (dir: string): boolean => dir.startsWith(common === '/' ? '/' : `${common}/`)
  while (common !== '/' && !dirs.every(holds)) common = dirname(common)
  const skip = common === '/' ? 1 : common.length + 1
  return { common: unescapeLower(common), names: dirs.map((dir) => dir.slice(skip)) }
}
