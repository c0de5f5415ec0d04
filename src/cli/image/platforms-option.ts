import { Option } from 'commander'

/** `--platform`, which may be repeated. */
export const platformsOption = (what: string): Option =>
  new Option('--platform <os/arch>', `${what}; may be repeated`).argParser(appended)

const appended = (text: string, before: readonly string[] | undefined): readonly string[] => [
  ...(before ?? []),
  text,
]
