import { type Labels, validateLabels } from '#core/labels/labels.ts'

/** Runs `fn`; when it throws, says in front of the message where that was. */
export function within<T>(where: string, fn: () => T): T {
  try {
    return fn()
  } catch (cause) {
    throw new Error(where, { cause })
  }
}

/** Checks the labels of an object. @throws `invalid_argument`, naming the field. */
export const checkLabels = (field: string, labels: Labels): void =>
  within(field, () => validateLabels(labels))

/** `text` in the quotes of Go's `%q`, as messages have it. */
export const quote = (text: string): string => JSON.stringify(text)
