import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** A program that wharf or its tests execute, and the Debian package it comes in. */
export interface Program {
  readonly name: string
  readonly package: string
  readonly why: string
}

export const runtimePrograms: readonly Program[] = [
  { name: 'runc', package: 'runc', why: 'starts containers' },
  { name: 'busybox', package: 'busybox-static', why: 'is what the first container runs' },
]

export const testPrograms: readonly Program[] = [
  ...runtimePrograms,
  { name: 'crun', package: 'crun', why: 'the other runtime' },
  { name: 'ctr', package: 'containerd', why: "is containerd's own client, and its Go shim" },
  { name: 'mkfs.erofs', package: 'erofs-utils', why: 'makes the layers of the erofs snapshotter' },
  { name: 'docker-registry', package: 'docker-registry', why: 'images are pulled from it' },
  { name: 'openssl', package: 'openssl', why: 'makes the certificates of registries' },
  { name: 'mkfs.btrfs', package: 'btrfs-progs', why: 'makes a file system of snapshots' },
  {
    name: 'mkfs.xfs',
    package: 'xfsprogs',
    why: 'makes a disk that can be copied while it is in use',
  },
  { name: 'skopeo', package: 'skopeo', why: 'an independent client of registries and archives' },
]

export const benchPrograms: readonly Program[] = [
  ...runtimePrograms,
  { name: 'crun', package: 'crun', why: 'the other runtime' },
  { name: 'ctr', package: 'containerd', why: 'is what wharfd is measured beside' },
  { name: 'h2load', package: 'nghttp2-client', why: 'asks for more than a daemon can answer' },
  { name: 'docker-registry', package: 'docker-registry', why: 'images are pulled from it' },
  { name: 'skopeo', package: 'skopeo', why: 'puts them there' },
  { name: 'curl', package: 'curl', why: 'sends without a daemon' },
]

/**
 * Installs the Debian packages of programs that are not in PATH.
 *
 * @throws an Error that names what is missing and what to do, when they cannot be installed.
 */
export function ensurePrograms(programs: readonly Program[]): void {
  const missing = programs.filter((program) => find(program.name) === undefined)
  if (missing.length === 0) return
  const packages = missing.map((program) => program.package)
  process.stderr.write(`installing ${packages.join(', ')} ...\n`)
  apt(['update'], missing)
  apt(['install', '-y', '--no-install-recommends', ...packages], missing)
}

/** The path of a program, looked up as a shell does; also in the directories only root has. */
export function find(name: string): string | undefined {
  const path = `${process.env['PATH'] ?? ''}${delimiter}/usr/sbin${delimiter}/sbin`
  return path
    .split(delimiter)
    .map((dir) => join(dir, name))
    .find((file) => isExecutable(file))
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function apt(args: readonly string[], missing: readonly Program[]): void {
  const run = spawnSync('apt-get', ['-qq', ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  })
  if (run.status === 0) return
  const reason = run.error?.message ?? run.stderr.trim()
  const list = missing.map(({ name, package: p, why }) => `  ${name} (package ${p}): ${why}`)
  throw new Error(
    `cannot install what is missing:\n${list.join('\n')}\napt-get said: ${reason}\n` +
      'Install these programs by hand, as root, and run the same command again.',
  )
}
