import { parseArgs } from 'node:util'

import { invalidArgument } from '#lib/errors/errors.ts'

import type { Overrides } from './config/config.ts'
import { defaultConfigPath } from './config/default.ts'

/** What the command line asks for. */
export interface Flags {
  /** The config file; undefined for the default one, which may be absent. */
  readonly config: string | undefined
  readonly overrides: Overrides
  /** The command and its arguments; empty to run the daemon. */
  readonly words: readonly string[]
  /** For `publish`. */
  readonly topic: string
  readonly namespace: string
  readonly help: boolean
  readonly version: boolean
}

export const usage = `usage: wharfd [flags] [command]

The wharf container runtime daemon: containerd's API, config and storage.

  -c, --config FILE        configuration file (default ${defaultConfigPath})
  -l, --log-level LEVEL    trace, debug, info, warn, error, fatal or panic
  -a, --address PATH       socket for the gRPC API
      --root DIR           where persistent data lives
      --state DIR          where data lives that a reboot may remove
  -v, --version            print the version
  -h, --help               print this

Without a command it serves. Commands:

  config default           print the default configuration
  config dump              print the configuration with its imports and all defaults
  config migrate           the same: a configuration of the latest version
  config check FILE        tell what is wrong in a file; an unknown key is an error
  config explain KEY       tell what a key means, its value, and where that is from
  publish                  publish the event on standard input (--topic, --namespace)
  oci-hook PROGRAM ARG...  as a hook of an OCI runtime: run a program with {{id}}, {{bundle}},
                           {{rootfs}}, {{pid}}, {{status}} and {{annotation "key"}} filled in

SIGHUP reads the configuration again, SIGTERM stops the daemon; containers go on.
`

/** Reads the command line. @throws `invalid_argument` for a flag that is not known. */
export function parseFlags(argv: readonly string[]): Flags {
  const [own, others] = splitAtHook(argv)
  const { values, positionals } = parse(own)
  return {
    config: values.config,
    overrides: {
      root: values.root,
      state: values.state,
      address: values.address,
      level: values['log-level'],
    },
    words: [...positionals, ...others],
    topic: values.topic ?? '',
    namespace: values.namespace ?? '',
    help: values.help,
    version: values.version,
  }
}

const hook = 'oci-hook'

/** What follows `oci-hook` is the command line of another program. */
function splitAtHook(argv: readonly string[]): readonly [string[], string[]] {
  const at = argv.indexOf(hook)
  const own = argv.slice(0, at + 1)
  if (at === -1 || parse(own).positionals.at(-1) !== hook) return [[...argv], []]
  const others = argv.slice(at + 1)
  return [own, others[0] === '--' ? others.slice(1) : others]
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        config: { type: 'string', short: 'c' },
        'log-level': { type: 'string', short: 'l' },
        address: { type: 'string', short: 'a' },
        root: { type: 'string' },
        state: { type: 'string' },
        topic: { type: 'string' },
        namespace: { type: 'string' },
        version: { type: 'boolean', short: 'v', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
  } catch (err) {
    const reason = err instanceof Error ? err.message : String(err)
    throw invalidArgument(`${reason}; see wharfd --help`, { cause: err })
  }
}
