import assert from 'node:assert/strict'
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { parse } from 'smol-toml'

import { isTable, type Table } from '#lib/toml/decode.ts'
import { containerd2 } from '#testing/containerd.ts'
import { run } from '#testing/daemon.ts'

/*
 * Configurations that import others, judged by containerd: `config dump` of both must say the same of
 * everything the files say.
 */

const wharfd = fileURLToPath(new URL('../../bin/wharfd.mjs', import.meta.url))
const containerd = containerd2()?.containerd ?? ''
const skip = containerd === '' && 'needs containerd 2.x'

const main = `version = 3
root = "/a/root"
state = "/a/state"
oom_score = 5
disabled_plugins = ["io.containerd.x.v1.a", "io.containerd.x.v1.b"]
imports = ["sub/*.toml", "./sub/../one.toml"]
[debug]
level = "debug"
format = "json"
[cgroup]
path = "/x"
[timeouts]
"io.containerd.timeout.shim.load" = "9s"
"a.b" = "1s"
[stream_processors.p1]
accepts = ["a"]
returns = "b"
path = "p"
args = ["1"]
env = ["X=1"]
[proxy_plugins.foo]
type = "snapshot"
address = "/foo.sock"
platform = "linux/arm64"
exports = { root = "/r", address = "/foo.sock" }
capabilities = ["x"]
[plugins."io.example.a.v1.a"]
list = ["1", "2"]
num = 5
zero = 5
flag = true
str = "x"
empty = "x"
[plugins."io.example.a.v1.a".sub]
k = "v"
l = [1, 2]
tables = [{ a = 1 }, { b = 2 }]
[plugins."io.example.a.v1.b"]
a = 1
`
const first = `version = 3
oom_score = 0
disabled_plugins = ["io.containerd.x.v1.b", "io.containerd.x.v1.c"]
imports = ["../deep.toml"]
[debug]
level = ""
format = "text"
[cgroup]
path = ""
[timeouts]
"io.containerd.timeout.shim.load" = "8s"
[stream_processors.p1]
accepts = ["z"]
returns = "y"
[proxy_plugins.foo]
type = "snapshot"
address = "/other.sock"
exports = { address = "/other.sock" }
[plugins."io.example.a.v1.a"]
list = ["2", "3"]
num = 6
zero = 0
flag = false
empty = ""
[plugins."io.example.a.v1.a".sub]
k2 = "v2"
l = [3]
tables = [{ c = 1 }]
[plugins."io.example.a.v1.b"]
a = { x = 1 }
[plugins."io.example.a.v1.c"]
`
const second = `version = 3
Root = "/c/root"
[plugins."io.example.a.v1.a"]
list = []
[plugins."io.example.a.v1.a".sub]
l = []
`
const files: Readonly<Record<string, string>> = {
  'main.toml': main,
  'sub/01.toml': first,
  'sub/.02.toml': second,
  'sub/deeper/none.toml': 'version = "no"',
  'one.toml':
    'version = 3\nimports = ["main.toml"]\n[plugins."io.example.a.v1.a".sub]\nk = "one"\n',
  'deep.toml': 'version = 3\n[plugins."io.example.a.v1.a".sub]\nk = "deep"\ndeep = true\n',
}

void suite('files that import files', { skip, timeout: 60_000 }, () => {
  void test('mean what they mean to containerd', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'config-go-'))
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(dir.path, name)), { recursive: true })
      await writeFile(join(dir.path, name), text)
    }
    const dump = async (program: string, ...args: readonly string[]): Promise<unknown> => {
      const file = join(dir.path, 'main.toml')
      const ran = await run(program, [...args, '--config', file, 'config', 'dump'])
      assert.equal(ran.code, 0, ran.stderr)
      return said(parse(ran.stdout))
    }
    assert.deepEqual(await dump(process.execPath, wharfd), await dump(containerd))
  })
})

/** What the files are about; the rest is what each program has by default. */
function said(dumped: Table): unknown {
  const table = (name: string): Table => (isTable(dumped[name]) ? dumped[name] : {})
  const plugins = Object.entries(table('plugins')).filter(([uri]) => uri.startsWith('io.example.'))
  return {
    ...Object.fromEntries(
      ['root', 'state', 'oom_score', 'disabled_plugins', 'cgroup'].map((key) => [key, dumped[key]]),
    ),
    debug: [table('debug')['level'], table('debug')['format']],
    timeouts: [table('timeouts')['a.b'], table('timeouts')['io.containerd.timeout.shim.load']],
    processor: table('stream_processors')['p1'],
    proxy: table('proxy_plugins')['foo'],
    plugins: Object.fromEntries(plugins),
  }
}
