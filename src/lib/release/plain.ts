/*
 * Messages in a plain form, which is what a release has of the descriptors of protobuf: reading them
 * from their binary form would need the descriptor of descriptors, and a daemon that starts has no time for it.
 * tools/plain-descriptors.ts writes the form:
 *
 *     shapes  type name -> what a message of it is made of
 *     plain   { field: value } of what is set; messages and lists of them likewise, by their shape
 */

/** What a message of one type has besides the fields that are set. */
export interface Shape {
  /** What fields are that are not set; it becomes the prototype. */
  readonly defaults: object
  /** The fields that are lists. */
  readonly lists: readonly string[]
  /** The types of the fields that are messages, or lists of them. */
  readonly messages: Readonly<Record<string, string>>
}

export type Shapes = Readonly<Record<string, Shape>>

/** The message of type `typeName` that `plain` stands for. */
export function revive(shapes: Shapes, typeName: string, plain: object): object {
  const shape = shapes[typeName]
  if (shape === undefined) throw new TypeError(`no shape of ${typeName}`)
  const message: Record<string, unknown> = Object.setPrototypeOf(
    { $typeName: typeName },
    shape.defaults,
  )
  for (const field of shape.lists) message[field] = []
  for (const [field, value] of Object.entries<unknown>({ ...plain }))
    message[field] = reviveField(shapes, shape.messages[field], value)
  return message
}

function reviveField(shapes: Shapes, typeName: string | undefined, value: unknown): unknown {
  if (typeName === undefined || typeof value !== 'object' || value === null) return value
  if (!Array.isArray(value)) return revive(shapes, typeName, value)
  return value.map((each: object) => revive(shapes, typeName, each))
}
