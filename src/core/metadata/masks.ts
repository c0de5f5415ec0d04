import type { Labels } from '#core/labels/labels.ts'
import { invalidArgument } from '#lib/errors/errors.ts'

/**
 * `current` as the field mask `path` changes it, when it names the map `field` (`labels`) or one of
 * its keys (`labels.<key>`); undefined when it names something else. A key that `given` does not
 * have is set to `missing`.
 */
export function maskMap<T>(
  path: string,
  field: string,
  values: {
    readonly current: Readonly<Record<string, T>>
    readonly given: Readonly<Record<string, T>>
    readonly missing: T
  },
): Readonly<Record<string, T>> | undefined {
  if (path === field) return values.given
  if (!path.startsWith(`${field}.`)) return undefined
  const key = path.slice(field.length + 1)
  const given = Object.hasOwn(values.given, key) ? values.given[key] : undefined
  return { ...values.current, [key]: given ?? values.missing }
}

/**
 * The labels of an object whose only mutable field they are, after an update; without paths all
 * are replaced.
 *
 * @throws `invalid_argument` for another field; `what` names the object in the message.
 */
export function maskLabels(
  paths: readonly string[],
  current: Labels,
  given: Labels,
  what: string,
): Labels {
  if (paths.length === 0) return withoutEmpty(given)
  let labels = current
  for (const path of paths) {
    const changed = maskMap(path, 'labels', { current: labels, given, missing: '' })
    if (!changed) throw invalidArgument(`cannot update ${JSON.stringify(path)} field on ${what}`)
    labels = changed
  }
  return withoutEmpty(labels)
}

/** `map` without the keys whose value is empty: those are not kept. */
export const withoutEmpty = (map: Labels): Labels =>
  Object.fromEntries(Object.entries(map).filter(([, value]) => value !== ''))
