/*
 * A scope is what a token is good for: `repository:library/alpine:pull,push`.
 * Source: https://distribution.github.io/distribution/spec/auth/scope/.
 */

/** What is to be done with the repository `name`. */
export const repositoryScope = (name: string, ...actions: readonly ('pull' | 'push')[]): string =>
  `repository:${name}:${actions.join(',')}`

/** `scopes` without repetition, the actions on one resource together, in a fixed order. */
export function mergeScopes(scopes: readonly string[]): readonly string[] {
  const actions = new Map<string, Set<string>>()
  for (const scope of scopes) {
    const colon = scope.lastIndexOf(':')
    const [resource, list] = [scope.slice(0, colon + 1), scope.slice(colon + 1)]
    const known = actions.getOrInsertComputed(resource, () => new Set())
    for (const action of list.split(',')) known.add(action)
  }
  return [...actions].map(([resource, set]) => resource + [...set].toSorted().join(',')).toSorted()
}
