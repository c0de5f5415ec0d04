/**
 * How a daemon and a shim meet: what `start` reads on stdin and writes on stdout.
 *
 *     daemon       stdin                                stdout
 *     1.6          nothing, or an Any of options        the address
 *     1.7 – 2.2    an Any of options                    {"version":2,"address":…,"protocol":"ttrpc"}
 *     2.3 –        BootstrapParams                      BootstrapResult
 *
 * Source: upstream `core/runtime/v2/binary.go`, `pkg/shim/shim.go`.
 */
import type { ShimFlags } from './flags.ts'
import { type Field, numberField, readFields, readRepeated, textField } from './wire.ts'

/** What the daemon said on stdin, as far as `start` needs it. */
export interface Bootstrap {
  readonly form: 'plain' | 'json' | 'protobuf'
  readonly debug: boolean
  readonly ttrpcAddress: string
  readonly grpcAddress: string
  /** Where shim sockets go; empty when the daemon does not say. */
  readonly socketDir: string
  /** The control group the host shall be in; empty for that of the daemon. */
  readonly shimCgroup: string
}

/** Fields of `containerd.runtime.bootstrap.v1.BootstrapParams`. */
const Params = {
  id: 1,
  namespace: 2,
  logLevel: 3,
  ttrpc: 5,
  grpc: 6,
  extensions: 8,
  socketDir: 9,
} as const
/** Of `containerd.runtime.bootstrap.v1.Extension`, `google.protobuf.Any`, `containerd.runc.v1.Options`. */
const [ExtensionFields, AnyFields] = [{ value: 1 }, { typeUrl: 1, value: 2 }] as const
const Options = { type: 'containerd.runc.v1.Options', shimCgroup: 3 } as const
/** Fields of `containerd.runtime.bootstrap.v1.BootstrapResult`. */
const Result = { version: 1, address: 2, protocol: 3 } as const

const LOG_LEVEL_DEBUG = -4
const protocol = 'ttrpc'

/** Understands `input`, whatever generation of daemon wrote it. */
export function parseBootstrap(
  input: Uint8Array,
  flags: ShimFlags,
  env: NodeJS.ProcessEnv,
): Bootstrap {
  const fields = readFields(input)
  const text = (number: number): string => toText(fields?.get(number))
  const byFlags = {
    debug: flags.debug,
    ttrpcAddress: env['TTRPC_ADDRESS'] ?? '',
    grpcAddress: flags.address,
    socketDir: '',
  }
  // An Any can be read as BootstrapParams too; but its first field is never this container's id.
  if (text(Params.id) !== flags.id || text(Params.namespace) !== flags.namespace || !flags.id) {
    const form = env['MAX_SHIM_VERSION'] ? 'json' : 'plain'
    return { ...byFlags, form, shimCgroup: shimCgroupOf(input) }
  }
  const level = fields?.get(Params.logLevel)
  return {
    form: 'protobuf',
    debug: flags.debug || (typeof level === 'number' && level <= LOG_LEVEL_DEBUG),
    ttrpcAddress: text(Params.ttrpc) || byFlags.ttrpcAddress,
    grpcAddress: text(Params.grpc) || byFlags.grpcAddress,
    socketDir: text(Params.socketDir),
    shimCgroup: readRepeated(input, Params.extensions)
      .flatMap((extension) => readRepeated(extension, ExtensionFields.value))
      .map((any) => shimCgroupOf(any))
      .join(''),
  }
}

/** What runtime options in an Any say; nothing for options of another type. */
function shimCgroupOf(any: Uint8Array): string {
  const fields = readFields(any)
  const value = fields?.get(AnyFields.value)
  const type = toText(fields?.get(AnyFields.typeUrl)).split('/').at(-1)
  if (type !== Options.type || !(value instanceof Uint8Array)) return ''
  return toText(readFields(value)?.get(Options.shimCgroup))
}

const toText = (field: Field | undefined): string =>
  field instanceof Uint8Array ? Buffer.from(field).toString() : ''

/**
 * The reply that tells `address` to a daemon of this form. In JSON the version is 2, which every
 * daemon that reads JSON takes; the host serves both versions of the Task service.
 */
export function formatReply(form: Bootstrap['form'], address: string): string | Uint8Array {
  if (form === 'plain') return address
  if (form === 'json') return JSON.stringify({ version: 2, address, protocol })
  return Buffer.concat([
    numberField(Result.version, 3),
    textField(Result.address, address),
    textField(Result.protocol, protocol),
  ])
}
