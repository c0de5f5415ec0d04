/** The first Windows whose containers also run on later ones, and the next such: Server 2022 and 2025. */
const stableBuilds = [20348, 26100] as const

/**
 * Whether containers made for Windows `given` run on Windows `host`, both as `10.0.20348.1234`. One
 * that is empty, or says less, suits any.
 *
 * Source: https://learn.microsoft.com/virtualization/windowscontainers/deploy-containers/version-compatibility
 */
export function isWindowsFor(host: string, given: string): boolean {
  const on = parseVersion(host)
  if (on === undefined || given === '') return true
  const of = parseVersion(given) ?? { major: 0, minor: 0, build: 0 }
  if (on.major !== of.major || on.minor !== of.minor) return false
  const [first] = stableBuilds
  if (on.build < first) return on.build === of.build
  const oldest = stableBuilds.findLast((build) => on.build > build) ?? first
  return oldest <= of.build && of.build <= on.build
}

interface Version {
  readonly major: number
  readonly minor: number
  readonly build: number
}

function parseVersion(text: string): Version | undefined {
  const [major = '', minor = '', build = ''] = text.split('.')
  if (![major, minor, build].every((part) => /^\d{1,5}$/.test(part))) return undefined
  return { major: Number(major), minor: Number(minor), build: Number(build) }
}
