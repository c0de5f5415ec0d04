/** What an image is made for. Source: OCI image-spec `image-index.md`. */
export interface Platform {
  readonly os: string
  readonly architecture: string
  /** Of the architecture: `v8`. Empty for the usual one. */
  readonly variant: string
}

const architectures: Readonly<Record<string, string>> = {
  x64: 'amd64',
  ia32: '386',
  arm64: 'arm64',
  arm: 'arm',
  ppc64: 'ppc64le',
  s390x: 's390x',
  riscv64: 'riscv64',
}

/** The platform of this machine, in Go's words. */
export const hostPlatform: Platform = {
  os: 'linux',
  architecture: architectures[process.arch] ?? process.arch,
  variant: '',
}

/** Reads `os/arch` or `os/arch/variant`. */
export function parsePlatform(text: string): Platform {
  const [os = '', architecture = '', variant = ''] = text.split('/')
  return { os, architecture, variant }
}

/** Whether what is made for `given` runs on `wanted`; something that does not say, does. */
export const runsOn = (given: Platform | undefined, wanted: Platform): boolean =>
  given === undefined ||
  (given.os === wanted.os &&
    given.architecture === wanted.architecture &&
    (wanted.variant === '' || given.variant === '' || given.variant === wanted.variant))
