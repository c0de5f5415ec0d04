import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

import type { Context } from '#core/context.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'

import { type HostEntry, parseHostsFile } from './hosts-toml.ts'
import { allCapabilities } from './profile.ts'
import { readSmallFile } from './small-file.ts'

/*
 *   <root>/                    /etc/containerd/certs.d, or docker's /etc/docker/certs.d
 *     registry.example_5000_/  for registry.example:5000; registry.example:5000/ will do, too
 *       hosts.toml             or, when there is none or it is empty:
 *       ca.crt                 trusted
 *       me.cert, me.key        shown to the host; without the .key, it is in the .cert
 *     _default/                for registries that have no directory
 *
 * The files are read whenever an image is asked for: a change counts from the next pull on.
 * Source: upstream `docs/hosts.md`, `core/remotes/docker/config/{hosts,config_unix}.go`.
 */

/**
 * The hosts of `registry` by the first of `roots` that has a directory for it, in the order in which
 * they are asked; undefined when none has.
 *
 * @throws `invalid_argument` for a bad hosts.toml.
 */
export async function readHosts(
  ctx: Context,
  roots: readonly string[],
  registry: string,
): Promise<readonly HostEntry[] | undefined> {
  for (const root of roots) {
    for (const name of directoryNames(registry)) {
      const dir = join(root, name)
      if (await exists(dir)) return await readHostsDir(ctx, dir)
    }
  }
  return undefined
}

const directoryNames = (registry: string): readonly string[] => {
  const colon = registry.lastIndexOf(':')
  const own = colon > 0 ? [`${registry.slice(0, colon)}_${registry.slice(colon + 1)}_`] : []
  return [...own, registry, '_default']
}

async function readHostsDir(ctx: Context, dir: string): Promise<readonly HostEntry[]> {
  const path = join(dir, 'hosts.toml')
  const text = await readSmallFile(path, ctx.signal).catch((err: unknown) => {
    if (hasErrno(err, 'ENOENT')) return ''
    throw err
  })
  if (text === '') return [await readCertificates(dir)]
  const { hosts, warnings } = parseHostsFile(text, path)
  for (const warning of warnings) ctx.log.warn('registry hosts', { warning })
  return hosts
}

/** The registry itself, with docker's layout of certificates. */
async function readCertificates(dir: string): Promise<HostEntry> {
  const names = (await readdir(dir)).toSorted()
  return {
    capabilities: allCapabilities,
    ca: names.filter((name) => name.endsWith('.crt')).map((name) => join(dir, name)),
    client: names
      .filter((name) => name.endsWith('.cert'))
      .map((name) => {
        const key = `${name.slice(0, -'.cert'.length)}.key`
        return { cert: join(dir, name), key: names.includes(key) ? join(dir, key) : '' }
      }),
    header: {},
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (err) {
    if (hasErrno(err, 'ENOENT') || hasErrno(err, 'ENOTDIR')) return false
    throw err
  }
}
