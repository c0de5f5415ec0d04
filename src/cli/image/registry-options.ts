import { type Command, InvalidArgumentError, Option } from 'commander'

import { askSecret } from '#cli/ask-secret.ts'
import type { RegistryOptions } from '#client/transfer/options.ts'
import { dockerCredentials } from '#core/remotes/docker-config.ts'
import type { CredentialSource } from '#core/remotes/remotes.ts'

/** How to reach a registry, as the command line has it. */
export interface RegistryFlags {
  readonly user?: string
  readonly plainHttp?: boolean
  readonly hostsDir?: string
  readonly header?: Readonly<Record<string, string>>
}

/** Adds the flags of `ctr` for registries. */
export const withRegistryFlags = (command: Command): Command =>
  command
    .option('-u, --user <name[:password]>', 'who to be there; the password is asked for if missing')
    .option('--plain-http', 'speak to the registry without TLS')
    .option('--hosts-dir <dir>', 'where hosts.toml files are, on the machine of the daemon')
    .addOption(
      new Option('--header <name: value>', 'sent to the registry; may be repeated').argParser(
        header,
      ),
    )

/** Shown below the help of commands that speak to registries. */
export const registryHelp = `
Without --user, credentials are those of docker login: $DOCKER_CONFIG/config.json or
~/.docker/config.json with its helpers, $REGISTRY_AUTH_FILE, $DOCKER_AUTH_CONFIG. They are given to the
daemon only when the registry asks. A password on the command line can be seen by others on this machine.`

function header(text: string, before: Readonly<Record<string, string>> = {}) {
  const colon = text.indexOf(':')
  if (colon <= 0) throw new InvalidArgumentError('It is not "name: value".')
  return { ...before, [text.slice(0, colon).trim()]: text.slice(colon + 1).trim() }
}

/** The same for the client. */
export async function registryOptions(flags: RegistryFlags): Promise<RegistryOptions> {
  return {
    credentials: await credentialsOf(flags.user),
    ...(flags.plainHttp && { plainHttp: true }),
    ...(flags.hostsDir !== undefined && { hostsDir: flags.hostsDir }),
    ...(flags.header && { headers: flags.header }),
  }
}

async function credentialsOf(user: string | undefined): Promise<CredentialSource> {
  if (user === undefined) return dockerCredentials()
  const colon = user.indexOf(':')
  const username = colon < 0 ? user : user.slice(0, colon)
  const secret = colon < 0 ? await askSecret(`Password of ${username}: `) : user.slice(colon + 1)
  return () => ({ kind: 'password', username, secret })
}
