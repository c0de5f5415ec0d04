/*
 * Descriptors of protobuf that are made when somebody looks at them; a release is bundled with this
 * by tools/late-descriptors.ts. Until then a descriptor is an object without properties of its own,
 * and the prototype's getters stand for them. The first that is asked for makes the descriptor, and
 * the object takes over everything it has: it is then a plain object as any other descriptor is.
 */

/** Every property that a descriptor of a file, message, enum or service may have. */
const keys = `kind proto name typeName deprecated file parent toString
  edition dependencies messages enums extensions services
  fields field oneofs members nestedMessages nestedEnums nestedExtensions
  open values value sharedPrefix methods method`.split(/\s+/)

/** Makes a descriptor from what a generated module gives. */
type Maker = (...args: readonly unknown[]) => object

const pending = new WeakMap<object, () => object>()

const prototype: object = Object.defineProperties(
  {},
  Object.fromEntries(
    keys.map((key) => [
      key,
      {
        get(this: object): unknown {
          return Reflect.get(settle(this), key)
        },
      },
    ]),
  ),
)

/** What `make(...args)` gives, made when it is first looked at. */
export function late(make: Maker, args: readonly unknown[]): object {
  return stand(() => make(...args), {})
}

/** As `late`; the name of the service, which comes last, is known before. */
export function lateService(make: Maker, args: readonly unknown[]): object {
  const [file, index, typeName] = args
  return stand(() => make(file, index), typeName === undefined ? {} : { typeName })
}

function stand(make: () => object, known: object): object {
  const descriptor: object = Object.setPrototypeOf(known, prototype)
  pending.set(descriptor, make)
  return descriptor
}

function settle(descriptor: object): object {
  const made = pending.get(descriptor)?.()
  if (made === undefined) return descriptor
  pending.delete(descriptor)
  Object.setPrototypeOf(descriptor, Object.getPrototypeOf(made))
  return Object.assign(descriptor, made)
}
