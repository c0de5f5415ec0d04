import { describe } from '#lib/errors/errors.ts'

import { type ShimFlags, parseFlags } from './flags.ts'

/**
 * Runs one command of the shim and gives its exit code. Errors go to stderr, as the daemon expects.
 *
 * Each command loads what it needs and no more: `start` runs once per container.
 */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const flags = parseFlags(args)
    const output = await run(flags)
    if (output !== undefined) await write(output)
    return 0
  } catch (err) {
    process.stderr.write(`${describe(err)}\n`)
    return 1
  }
}

async function run(flags: ShimFlags): Promise<string | Uint8Array | undefined> {
  if (flags.version) return (await import('./info.ts')).versionText()
  if (flags.info) return await (await import('./info.ts')).runtimeInfo()
  switch (flags.command) {
    case 'start':
      return await (await import('./start.ts')).start(flags, process.env)
    case 'delete':
      return await (await import('./delete.ts')).deleteContainer(flags)
    case 'serve':
      return await (await import('./host.ts')).serve(flags, process.env)
    case 'mount':
      return await (await import('./mount-apart.ts')).mountAsTold()
    default:
      throw new Error(`shim command "${flags.command}" is none of start, delete`)
  }
}

async function write(output: string | Uint8Array): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  process.stdout.write(output, (err) => (err ? reject(err) : resolve()))
  await promise
}
