import { endianness, machine } from 'node:os'

import { invalidArgument } from '#lib/errors/errors.ts'

/*
 * What an image is made for, as text:
 *
 *     linux/arm/v7        windows(10.0.17763+win32k)/amd64
 *     ─os── arch variant  ─os──── version─── features
 *
 * One word alone is a system or an architecture, and this machine says the rest.
 *
 * Source: https://pkg.go.dev/github.com/containerd/platforms
 */

/** What an image is made for. Source: OCI image-spec `image-index.md`. */
export interface Platform {
  readonly os: string
  readonly architecture: string
  /** Of the architecture: `v8`. Empty for the usual one. */
  readonly variant: string
  /** Of the system, where that matters: `10.0.17763.1234` of Windows. */
  readonly osVersion?: string | undefined
  /** What the system must be able to do. */
  readonly osFeatures?: readonly string[] | undefined
}

/** Names that one word alone may be. */
const systems = new Set(
  'aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 solaris windows zos'.split(
    ' ',
  ),
)
const architectures = new Set(
  '386 amd64 amd64p32 arm armbe arm64 arm64be ppc64 ppc64le loong64 mips mipsle mips64 mips64le mips64p32 mips64p32le ppc riscv riscv64 s390 s390x sparc sparc64 wasm'.split(
    ' ',
  ),
)

/** Go's names of what Node calls otherwise. */
const nodeArchitectures: Readonly<Record<string, string>> = {
  x64: 'amd64',
  ia32: '386',
  mipsel: 'mipsle',
  ppc64: endianness() === 'LE' ? 'ppc64le' : 'ppc64',
}

/** The platform of this machine, in Go's words. */
export const hostPlatform: Platform = {
  os: 'linux',
  architecture: nodeArchitectures[process.arch] ?? process.arch,
  variant: hostVariant(),
}

/** The same as text. */
export const hostPlatformName = formatPlatform(hostPlatform)

/** Only ARM has one: `armv7l` of uname is `v7`. */
function hostVariant(): string {
  if (process.arch === 'arm64') return 'v8'
  const version = process.arch === 'arm' ? /^armv(\d)/.exec(machine())?.[1] : undefined
  return version === undefined ? '' : `v${version}`
}

const systemForm = /^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?$/
const partForm = /^[A-Za-z0-9_.-]+$/

/** Reads a platform. @throws `invalid_argument` for what is none. */
export function parsePlatform(text: string): Platform {
  const [first = '', ...rest] = text.split('/')
  const [, system, version = '', features = ''] = systemForm.exec(first) ?? []
  if (system === undefined || rest.length > 2 || !rest.every((part) => partForm.test(part))) {
    throw invalidArgument(`${JSON.stringify(text)}: cannot parse platform specifier`)
  }
  const os = { ...systemOf(system), ...optionsOf(version, features) }
  const [architecture, variant] = rest
  if (architecture === undefined) return complete(text, os)
  const machineKind = machineOf(architecture, variant ?? '')
  if (variant === undefined) return { ...os, ...usual(machineKind) }
  const bare = machineKind.architecture === 'arm64' && machineKind.variant === ''
  return { ...os, ...machineKind, ...(bare && { variant: 'v8' }) }
}

/** Completes one word from this machine. */
function complete(text: string, os: Pick<Platform, 'os'>): Platform {
  if (systems.has(os.os)) {
    const { architecture, variant } = hostPlatform
    const unusual = architecture === 'arm' && variant !== 'v7'
    return { ...os, architecture, variant: unusual ? variant : '' }
  }
  const machineKind = machineOf(text, '')
  if (architectures.has(machineKind.architecture)) {
    return { os: hostPlatform.os, ...usual(machineKind) }
  }
  throw invalidArgument(`${JSON.stringify(text)}: unknown operating system or architecture`)
}

/** `os`, `os/arch` or `os/arch/variant`; `unknown` for one without a system. */
export function formatPlatform({ os, architecture, variant }: Platform): string {
  if (os === '') return 'unknown'
  return [os, architecture, variant].filter((part) => part !== '').join('/')
}

/** As `formatPlatform`, with the version and the features of the system. */
export function formatWholePlatform(platform: Platform): string {
  const { os, osVersion = '', osFeatures = [] } = platform
  const features = [...new Set(osFeatures)].filter((feature) => feature !== '').toSorted()
  if (os === '' || (osVersion === '' && features.length === 0)) return formatPlatform(platform)
  const options = [osVersion, ...features].map(escapeOption).join('+')
  return formatPlatform({ ...platform, os: `${os}(${options})` })
}

/** `platform` with one name for each thing: `x86_64` is `amd64`, `arm64/v8` is `arm64`. */
export function normalizePlatform(platform: Platform): Platform {
  const { osFeatures } = platform
  return {
    ...platform,
    ...systemOf(platform.os),
    ...machineOf(platform.architecture, platform.variant),
    ...(osFeatures && { osFeatures: [...new Set(osFeatures)].toSorted() }),
  }
}

function systemOf(os: string): Pick<Platform, 'os'> {
  const name = os.toLowerCase()
  if (name === 'macos') return { os: 'darwin' }
  return { os: name === '' ? hostPlatform.os : name }
}

type MachineKind = Pick<Platform, 'architecture' | 'variant'>

const machineNames: Readonly<Record<string, Partial<MachineKind>>> = {
  i386: { architecture: '386', variant: '' },
  x86_64: { architecture: 'amd64' },
  'x86-64': { architecture: 'amd64' },
  aarch64: { architecture: 'arm64' },
  armhf: { architecture: 'arm', variant: 'v7' },
  armel: { architecture: 'arm', variant: 'v6' },
}

const variantNames: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  amd64: { v1: '' },
  arm64: { 8: '', v8: '', 'v8.0': '', 9: 'v9', '9.0': 'v9', 'v9.0': 'v9' },
  arm: { '': 'v7', 7: 'v7', 5: 'v5', 6: 'v6', 8: 'v8' },
}

function machineOf(architecture: string, variant: string): MachineKind {
  const given = { architecture: architecture.toLowerCase(), variant: variant.toLowerCase() }
  const named = { ...given, ...own(machineNames, given.architecture) }
  const known = own(variantNames, named.architecture)
  return { ...named, variant: (known && own(known, named.variant)) ?? named.variant }
}

/** Without the variant that the usual ARM has. */
const usual = (kind: MachineKind): MachineKind =>
  kind.architecture === 'arm' && kind.variant === 'v7' ? { ...kind, variant: '' } : kind

function optionsOf(version: string, features: string): Pick<Platform, 'osVersion' | 'osFeatures'> {
  const names = features.split('+').slice(1).map(unescapeOption)
  return {
    ...(version !== '' && { osVersion: unescapeOption(version) }),
    ...(names.length > 0 && { osFeatures: names }),
  }
}

/** What has a meaning of its own in the text. */
const escapeOption = (text: string): string => text.replace(/[%+()/]/g, percent)
const percent = (char: string): string => `%${char.charCodeAt(0).toString(16).toUpperCase()}`

function unescapeOption(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch (err) {
    throw invalidArgument(`${JSON.stringify(text)}: bad escape in a platform`, { cause: err })
  }
}

const own = <T>(names: Readonly<Record<string, T>>, key: string): T | undefined =>
  Object.hasOwn(names, key) ? names[key] : undefined
