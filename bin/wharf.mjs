#!/bin/sh
':' //; s=$(readlink -f "$0"); n=${s%/*}/../node_modules/.bin/node; [ -x "$n" ] || n=node; exec "$n" "$0" "$@"

if (Number.parseInt(process.versions.node, 10) < 24) {
  process.stderr.write(`wharf: Node 24 or later is needed, and this is ${process.version}\n`)
  process.exit(1)
}
// An import statement would make a facade of everything these have, for which Node loads much more.
const { existsSync } = process.getBuiltinModule('node:fs')
const module = process.getBuiltinModule('node:module')
const { fileURLToPath } = process.getBuiltinModule('node:url')
// A release has a cache of its own; the default is below a directory that everybody can write to.
const cache = fileURLToPath(new URL('../cache', import.meta.url))
const directory = existsSync(cache) ? cache : '/var/cache/wharf'
try {
  module.enableCompileCache({ directory, portable: true })
} catch {
  // Earlier releases of Node 24 take nothing but the directory.
  module.enableCompileCache(directory)
}
const { main } = await import('#cli/main.ts')
process.exitCode = await main(process.argv.slice(2))
