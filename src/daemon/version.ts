import { packageVersion } from '#lib/release/release.ts'

/** This program's version, as package.json has it. */
export const version: string = packageVersion
