import { arch } from 'node:process'

/** Names that one word alone may be; architectures by all their names. */
const systems = new Set(['darwin', 'freebsd', 'linux', 'windows'])
const architectures: Readonly<Record<string, string>> = {
  '386': '386',
  aarch64: 'arm64',
  amd64: 'amd64',
  arm: 'arm',
  arm64: 'arm64',
  i386: '386',
  loong64: 'loong64',
  ppc64le: 'ppc64le',
  riscv64: 'riscv64',
  s390x: 's390x',
  x64: 'amd64',
  x86_64: 'amd64',
}

const hostArchitecture = architectures[arch] ?? arch

/** What this machine is, as `os/arch`. */
export const hostPlatform = `linux/${hostArchitecture}`

/**
 * A platform of the configuration as `os/arch` or `os/arch/variant`, where one word is completed from
 * this machine; undefined for what is none. Source: https://pkg.go.dev/github.com/containerd/platforms#Parse
 */
export function parsePlatform(text: string): string | undefined {
  const parts = text.toLowerCase().split('/')
  if (parts.length > 3 || !parts.every((part) => /^[a-z0-9_.-]+$/.test(part))) return undefined
  const [first = '', second, ...variant] = parts
  if (second !== undefined) return [first, architectures[second] ?? second, ...variant].join('/')
  if (systems.has(first)) return `${first}/${hostArchitecture}`
  const architecture = architectures[first]
  return architecture === undefined ? undefined : `linux/${architecture}`
}
