import { invalidArgument } from '#lib/errors/errors.ts'

const maxLength = 76
const pattern = /^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$/

/**
 * Checks a name of a namespace, container, task, exec or sandbox, or a part of an event topic.
 *
 * Source: upstream `pkg/identifiers/validate.go`.
 * @throws `invalid_argument` when it is empty, over 76 characters, or has other characters.
 */
export function validateIdentifier(id: string): void {
  if (id === '') throw invalidArgument('identifier must not be empty')
  if (id.length > maxLength) {
    throw invalidArgument(
      `identifier ${JSON.stringify(id)} greater than maximum length (${maxLength} characters)`,
    )
  }
  if (!pattern.test(id)) {
    throw invalidArgument(`identifier ${JSON.stringify(id)} must match ${pattern.source}`)
  }
}
