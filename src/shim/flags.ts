import { invalidArgument } from '#lib/errors/errors.ts'

/** The command line of a shim. Source: upstream `pkg/shim` (`shim.go`, `parseFlags`). */
export interface ShimFlags {
  readonly namespace: string
  /** Of the daemon's gRPC socket. */
  readonly address: string
  readonly publishBinary: string
  readonly id: string
  readonly bundle: string
  readonly socket: string
  readonly debug: boolean
  readonly version: boolean
  readonly info: boolean
  /** `start`, `delete`, or empty. */
  readonly command: string
}

const texts = {
  namespace: 'namespace',
  address: 'address',
  'publish-binary': 'publishBinary',
  id: 'id',
  bundle: 'bundle',
  socket: 'socket',
} as const

const switches = { debug: 'debug', v: 'version', info: 'info' } as const

type Mutable = { -readonly [K in keyof ShimFlags]: ShimFlags[K] }

/**
 * Reads flags as Go's `flag` package does: one dash or two, the value behind `=` or in the next
 * argument.
 *
 * @throws `invalid_argument` for a flag that no shim has, or one without its value.
 */
export function parseFlags(args: readonly string[]): ShimFlags {
  const flags: Mutable = {
    namespace: '',
    address: '',
    publishBinary: 'containerd',
    id: '',
    bundle: '',
    socket: '',
    debug: false,
    version: false,
    info: false,
    command: '',
  }
  const rest = args.values()
  for (const arg of rest) {
    const [, name, value] = /^--?([^-=][^=]*)(?:=(.*))?$/s.exec(arg) ?? []
    if (name === undefined) flags.command ||= arg
    else if (isIn(switches, name)) flags[switches[name]] = value !== 'false'
    else if (isIn(texts, name)) flags[texts[name]] = value ?? valueOf(name, rest)
    else throw invalidArgument(`flag provided but not defined: -${name}`)
  }
  return flags
}

const isIn = <T extends object>(names: T, name: string): name is Extract<keyof T, string> =>
  Object.hasOwn(names, name)

function valueOf(name: string, rest: Iterator<string>): string {
  const next = rest.next()
  if (next.done) throw invalidArgument(`flag needs an argument: -${name}`)
  return next.value
}
