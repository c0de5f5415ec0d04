import { readFileSync } from 'node:fs'

/** The package this code is part of. */
const manifest: unknown = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
)

/** This program's version, as package.json has it. */
export const version: string =
  typeof manifest === 'object' && manifest && 'version' in manifest ? String(manifest.version) : ''
