import { Command, Option } from 'commander'

import { write } from '#cli/write.ts'
import { completeReference } from '#cli/image/reference.ts'
import {
  type RegistryFlags,
  registryOptions,
  withRegistryFlags,
} from '#cli/image/registry-options.ts'
import { type Context, silent, withTimeout } from '#core/context.ts'
import { canceled } from '#lib/errors/errors.ts'

import { policySource, type TrustFlags } from './policy-source.ts'

interface VerifyFlags extends RegistryFlags, TrustFlags {
  readonly json?: boolean
}

const help = `
Asks the registry, as the daemon does before it pulls; nothing is pulled, and no daemon is needed. By the policy
of a daemon's configuration, or by one rule: --key for signatures of cosign, --certificate for those of notation.
Programs that the daemon also asks are not asked.

Exit code: 0 when the image may be pulled; 1 when it may not, or that cannot be told; 2 for bad usage.`

/** `wharf image verify`: whether an image may be pulled. */
export function verifyCommand(): Command {
  const command = new Command('verify')
    .description('look for the signatures of an image in its registry')
    .argument('<image>', 'which image, such as docker.io/library/alpine:3.20')
    .option('--key <file>', 'a public key; may be repeated', list)
    .option('--repository <name>', 'with --key: for which repository it must be signed, or "any"')
    .option('--certificate <file>', 'a certificate of an authority; may be repeated', list)
    .option('--identity <name>', 'with --certificate: whose, such as "C=US, O=acme"', list)
    .addOption(
      new Option(
        '--config <file>',
        'the configuration with the policy; - for standard input',
      ).default('/etc/containerd/config.toml'),
    )
    .option('--json', 'one JSON object')
  return withRegistryFlags(command)
    .addHelpText('after', help)
    .exitOverride()
    .action(async (image: string, flags: VerifyFlags) => {
      process.exitCode = (await verify(image, flags)) ? 0 : 1
    })
}

const list = (value: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  value,
]

/** As the policy of a daemon has it unless it says otherwise. */
const timeoutMs = 60_000

async function verify(image: string, flags: VerifyFlags): Promise<boolean> {
  const { parsePolicy } = await import('#core/verification/parse-policy.ts')
  const { judge } = await import('#core/verification/judge.ts')
  const { RegistryClient } = await import('#core/remotes/client.ts')
  const policy = parsePolicy(await policySource(flags))
  const { credentials, plainHttp, hostsDir, headers } = await registryOptions(flags)
  await using remotes = new RegistryClient({
    ...(credentials && { credentials }),
    ...(plainHttp && { scheme: 'http' as const }),
    hostsDirs: hostsDir === undefined ? defaultHostsDirs : [hostsDir],
    ...(headers && { headers }),
  })
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort(canceled('interrupted')))
  const ctx: Context = withTimeout({ signal: stop.signal, log: silent }, timeoutMs)
  const reference = completeReference(image)
  const { name, target } = await remotes.resolve(ctx, reference)
  const { ok, reason } = await judge(ctx, policy, { name, names: [name], target, remotes })
  const { digest } = target
  const sentence = ok ? `${name}@${digest}: ${reason}` : reason
  await write(
    process.stdout,
    `${flags.json ? JSON.stringify({ name, digest, ok, reason }) : sentence}\n`,
  )
  return ok
}

/** Those of containerd. */
const defaultHostsDirs = ['/etc/containerd/certs.d', '/etc/docker/certs.d']
