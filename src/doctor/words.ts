import type { Part } from './image-graph.ts'

/** Names, each once, and not too many. */
export function listed(names: Iterable<string>, most = 3): string {
  const all = [...new Set(names)]
  const rest = all.length - most
  return all.slice(0, most).join(', ') + (rest > 0 ? ` and ${rest} more` : '')
}

/** How to have the content of images again, whatever of it is unpacked. */
export const fetchCommands = (parts: readonly Pick<Part, 'namespace' | 'image'>[]): string =>
  listed(parts.map(({ namespace, image }) => `ctr -n ${namespace} content fetch ${image}`))

/** `1 error`, `2 errors`. */
export const counted = (count: number, thing: string): string =>
  `${count} ${thing}${count === 1 ? '' : 's'}`
