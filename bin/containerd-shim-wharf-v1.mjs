#!/bin/sh
':' //; s=$(readlink -f "$0"); n=${s%/*}/../node_modules/.bin/node; [ -x "$n" ] || n=node; exec "$n" "$0" "$@"
import { existsSync } from 'node:fs'
import module from 'node:module'
import { fileURLToPath } from 'node:url'

if (Number.parseInt(process.versions.node, 10) < 24) {
  process.stderr.write(
    `containerd-shim-wharf-v1: Node 24 or later is needed, and this is ${process.version}\n`,
  )
  process.exit(1)
}
// A release has a cache of its own; the default is below a directory that everybody can write to.
const cache = fileURLToPath(new URL('../cache', import.meta.url))
const directory = existsSync(cache) ? cache : '/var/cache/wharf'
try {
  module.enableCompileCache({ directory, portable: true })
} catch {
  // Earlier releases of Node 24 take nothing but the directory.
  module.enableCompileCache(directory)
}
const { main } = await import('#shim/main.ts')
process.exitCode = await main(process.argv.slice(2))
