import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

import { builtins } from '#daemon/builtins.ts'
import { referenceText } from '#daemon/config/reference.ts'

/*
 * Writes the keys of the configuration into docs/configuration.md, below its last heading of the
 * second level: `node tools/config-reference.ts`.
 */

const path = fileURLToPath(new URL('../docs/configuration.md', import.meta.url))
const heading = '## Every key\n'
const [before = ''] = readFileSync(path, 'utf8').split(heading)
writeFileSync(path, `${before}${heading}\n${referenceText(builtins)}`)
