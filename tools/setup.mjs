// Brings this checkout to the point where TypeScript runs, then runs tools/<command>.ts.
// Plain JavaScript for the Node that a Debian 12 machine has; everything after it is TypeScript.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url))
const [command, ...args] = process.argv.slice(2)

/** npm writes what it installed beside the packages; the same lock means there is nothing to do. */
function installed() {
  if (!existsSync(at('node_modules/.package-lock.json'))) return false
  const want = JSON.parse(readFileSync(at('package-lock.json'), 'utf8')).packages
  const have = JSON.parse(readFileSync(at('node_modules/.package-lock.json'), 'utf8')).packages
  return Object.entries(want).every(
    ([path, { version, optional }]) => path === '' || optional || have[path]?.version === version,
  )
}

function install() {
  process.stderr.write('installing npm packages (Node 26 among them) ...\n')
  // Not `npm ci`, which begins by removing what is there, under whatever runs from it.
  const npm = spawnSync(
    'npm',
    ['install', '--no-save', '--no-audit', '--no-fund', '--loglevel=error'],
    {
      cwd: at(''),
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  )
  if (npm.status === 0) return
  process.stderr.write(
    'wharf: npm install failed, so Node 26 and the libraries are missing; see the lines above, ' +
      'check that npm reaches its registry, and run the same command again\n',
  )
  process.exit(1)
}

if (!installed()) install()
const node = at(`node_modules/node-linux-${process.arch}/bin/node`)
if (!existsSync(node)) {
  process.stderr.write(
    `wharf: there is no Node 26 package for ${process.platform} ${process.arch}\n`,
  )
  process.exit(1)
}

const child = spawn(
  node,
  ['--disable-warning=ExperimentalWarning', at(`tools/${command}.ts`), ...args],
  {
    cwd: at(''),
    stdio: 'inherit',
    env: { ...process.env, PATH: `${at('node_modules/.bin')}:${process.env.PATH}` },
  },
)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
child.on('exit', (code, signal) => process.exit(code ?? (signal ? 1 : 0)))
