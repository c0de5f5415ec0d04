import { parseArgs } from 'node:util'

import { invalidArgument } from '#lib/errors/errors.ts'

import type { Overrides } from './config.ts'
import { defaultConfigPath } from './defaults.ts'

/** What the command line asks for. */
export interface Flags {
  readonly config: string
  readonly overrides: Overrides
  readonly help: boolean
  readonly version: boolean
}

export const usage = `usage: wharfd [flags]

The wharf container runtime daemon: containerd's API, config and storage.

  -c, --config FILE        configuration file (default ${defaultConfigPath})
  -l, --log-level LEVEL    trace, debug, info, warn, error, fatal or panic
  -a, --address PATH       socket for the gRPC API
      --root DIR           where persistent data lives
      --state DIR          where data lives that a reboot may remove
  -v, --version            print the version
  -h, --help               print this
`

/** Reads the command line. @throws `invalid_argument` for a flag or word that is not known. */
export function parseFlags(argv: readonly string[]): Flags {
  const { values, positionals } = parse(argv)
  const [word] = positionals
  if (word !== undefined) throw invalidArgument(`unknown command "${word}"; see wharfd --help`)
  return {
    config: values.config,
    overrides: {
      root: values.root,
      state: values.state,
      address: values.address,
      level: values['log-level'],
    },
    help: values.help,
    version: values.version,
  }
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        config: { type: 'string', short: 'c', default: defaultConfigPath },
        'log-level': { type: 'string', short: 'l' },
        address: { type: 'string', short: 'a' },
        root: { type: 'string' },
        state: { type: 'string' },
        version: { type: 'boolean', short: 'v', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    })
  } catch (err) {
    const reason = err instanceof Error ? err.message : String(err)
    throw invalidArgument(`${reason}; see wharfd --help`, { cause: err })
  }
}
