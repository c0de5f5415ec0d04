#!/bin/sh
':' //; s=$(readlink -f "$0"); n=${s%/*}/../node_modules/.bin/node; [ -x "$n" ] || n=node; exec "$n" "$0" "$@"
import { enableCompileCache } from 'node:module'

// Not the default, which is below a directory that everybody can write to: this runs as root.
enableCompileCache('/var/cache/wharf')
const { main } = await import('#shim/main.ts')
process.exitCode = await main(process.argv.slice(2))
