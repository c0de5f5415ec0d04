import { normalizePlatform, type Platform } from './platforms.ts'
import { isWindowsFor } from './windows.ts'

/*
 * Which platforms can be run where others are wanted, and which of them is best.
 *
 * A machine runs more than its own: an `arm/v7` one also `arm/v6` and `arm/v5`, an `arm64` one `arm` of 32 bits, an
 * `amd64` one `386`. Each machine has a list of what it runs, best first.
 *
 * Source: https://pkg.go.dev/github.com/containerd/platforms
 */

/** Decides which platforms suit. */
export interface PlatformMatcher {
  matches(platform: Platform): boolean
  /** Negative when `a` suits better than `b`, positive when worse, 0 when neither: for sorting. */
  compare(a: Platform, b: Platform): number
}

/** Everything suits, nothing better than anything else. */
export const anyPlatform: PlatformMatcher = { matches: () => true, compare: () => 0 }

/** What a machine of `platform` runs. */
export const onlyPlatform = (platform: Platform): PlatformMatcher =>
  orderedPlatforms(runnableOn(normalizePlatform(platform)))

/** Exactly those of `wanted`, the first best. */
export function orderedPlatforms(wanted: readonly Platform[]): PlatformMatcher {
  const tests = wanted.map(exactly)
  return {
    matches: (platform) => tests.some((test) => test(platform)),
    compare: (a, b) => ranked(tests, a, b),
  }
}

/** What is made for the system of `platform`, whatever the machine: its own best. */
export function onlySystemOf(platform: Platform): PlatformMatcher {
  const wanted = normalizePlatform(platform)
  const matches = (other: Platform): boolean => {
    const given = normalizePlatform(other)
    return wanted.os === given.os && suitsVersion(wanted, other) && hasFeaturesOf(wanted, given)
  }
  const best = [exactly(wanted)]
  return {
    matches,
    compare: (a, b) => Number(matches(b)) - Number(matches(a)) || ranked(best, a, b),
  }
}

type Test = (platform: Platform) => boolean

function exactly(platform: Platform): Test {
  const wanted = normalizePlatform(platform)
  return (other) => {
    const given = normalizePlatform(other)
    return (
      wanted.os === given.os &&
      wanted.architecture === given.architecture &&
      wanted.variant === given.variant &&
      suitsVersion(wanted, given) &&
      hasFeaturesOf(wanted, given)
    )
  }
}

function ranked(tests: readonly Test[], a: Platform, b: Platform): number {
  for (const test of tests) {
    const [isA, isB] = [test(a), test(b)]
    if (isA && isB) return features(b).length - features(a).length
    if (isA !== isB) return isA ? -1 : 1
  }
  // Neither can be run: by what is closest but for the features.
  if (features(a).length === 0 && features(b).length === 0) return 0
  return ranked(tests, { ...a, osFeatures: [] }, { ...b, osFeatures: [] })
}

const features = ({ osFeatures = [] }: Platform): readonly string[] => osFeatures

/** On Windows nobody used to look at this one. */
const ignoredOnWindows = 'win32k'

function hasFeaturesOf(wanted: Platform, given: Platform): boolean {
  const has = new Set(features(wanted))
  const ignored = wanted.os === 'windows' ? ignoredOnWindows : undefined
  return features(given).every((feature) => feature === ignored || has.has(feature))
}

const suitsVersion = (wanted: Platform, given: Platform): boolean =>
  wanted.os !== 'windows' || isWindowsFor(wanted.osVersion ?? '', given.osVersion ?? '')

/** What a machine runs, best first. */
function runnableOn(platform: Platform): readonly Platform[] {
  const { architecture, variant } = platform
  switch (architecture) {
    case 'amd64':
      return [
        platform,
        ...below(variant, 1).map((lower) => ({ ...platform, variant: lower })),
        { ...platform, architecture: '386', variant: '' },
      ]
    case 'arm':
      return [platform, ...below(variant, 5).map((lower) => ({ ...platform, variant: lower }))]
    case 'arm64':
      return runnableOn64(platform)
    default:
      return [platform]
  }
}

/** `v4` to `lowest`, exclusive of the first: `v3`, `v2`, `v1`. */
function below(variant: string, lowest: number): string[] {
  const version = /^v?(\d+)$/.exec(variant)?.[1]
  const count = Math.max(0, Number(version ?? 0) - lowest)
  return Array.from({ length: count }, (_, i) => `v${lowest + count - 1 - i}`)
}

/** An ARM of 64 bits: `v9.2` runs `v9.2` to `v9`, then `v8.7` to `v8`, then 32 bits. */
function runnableOn64(platform: Platform): readonly Platform[] {
  const [, major, minor = '0'] = /^v([89])(?:\.([0-9]))?$/.exec(platform.variant || 'v8') ?? []
  // A machine that nobody knows yet runs what is made for it.
  if (major === undefined || (major === '9' && Number(minor) > newest9)) return [platform]
  const versions = major === '8' ? upTo(8, Number(minor)) : both(Number(minor))
  const bits64 = versions.map((variant) => ({ ...platform, variant }))
  return [...bits64, ...runnableOn({ ...platform, architecture: 'arm', variant: 'v8' })]
}

/** The newest ARMv9 there is, and how far ARMv8 goes. */
const newest9 = 7
const newest8 = 9

/** ARMv9.0 is at least ARMv8.5. */
const both = (minor: number): string[] => [
  ...upTo(9, minor),
  ...upTo(8, Math.min(newest8, minor + 5)),
]

const upTo = (major: number, minor: number): string[] =>
  Array.from({ length: minor + 1 }, (_, i) =>
    i === minor ? `v${major}` : `v${major}.${minor - i}`,
  )

/** Something of an index: for a platform, or for all when it does not say. */
interface Entry {
  readonly platform?: Platform | undefined
}

/** Those of `entries` that suit, in their own order. */
export const suitingOf = <E extends Entry>(
  entries: readonly E[],
  matcher: PlatformMatcher,
): readonly E[] => entries.filter(({ platform }) => !platform || matcher.matches(platform))

/** Those of `entries` that suit, the best first; what does not say comes last, in its own order. */
export const bestOf = <E extends Entry>(
  entries: readonly E[],
  matcher: PlatformMatcher,
): readonly E[] =>
  suitingOf(entries, matcher).toSorted(({ platform: a }, { platform: b }) =>
    a && b ? matcher.compare(a, b) : Number(!a) - Number(!b),
  )
