import { invalidArgument } from '#lib/errors/errors.ts'

export type Labels = Readonly<Record<string, string>>

/** Bytes of a key and its value together. Source: upstream `pkg/labels/validate.go`. */
const maxBytes = 4096
/** How much of a key an error message shows. */
const keyShown = 64

/**
 * Checks every label.
 *
 * @throws `invalid_argument` when key and value together exceed 4096 bytes.
 */
export function validateLabels(labels: Labels): void {
  for (const [key, value] of Object.entries(labels)) {
    const size = Buffer.byteLength(key) + Buffer.byteLength(value)
    if (size <= maxBytes) continue
    const shown = key.length > keyShown ? key.slice(0, keyShown) : key
    throw invalidArgument(
      `label key and value length (${size} bytes) greater than maximum size (${maxBytes} bytes), key: ${shown}`,
    )
  }
}
