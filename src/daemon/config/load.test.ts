import assert from 'node:assert/strict'
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { suite, test } from 'node:test'

import { builtins } from '#daemon/builtins.ts'
import { codeOf, describe } from '#lib/errors/errors.ts'
import { encodeTable } from '#lib/toml/decode.ts'

import { refuseUnknownKeys, unknownKeyText } from './check.ts'
import type { Config, Overrides } from './config.ts'
import { loadConfig, parseConfig } from './load.ts'

const grpc = 'io.containerd.server.v1.grpc'
const ttrpc = 'io.containerd.server.v1.ttrpc'
const gc = 'io.containerd.gc.v1.scheduler'

const parse = (text: string, flags: Overrides = {}): Config => parseConfig(text, builtins, flags)

/** Loads `config.toml` from a directory with these files. */
async function load(files: Readonly<Record<string, string>>): Promise<Config> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'config-'))
  for (const [name, text] of Object.entries(files)) {
    const path = join(dir.path, name)
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, text.replaceAll('DIR', dir.path))
  }
  return await loadConfig(join(dir.path, 'config.toml'), builtins)
}

const sectionOf = (config: Config, uri: string): Record<string, unknown> =>
  encodeTable(config.plugins.get(uri) ?? {})

void suite('imports', () => {
  void test('are found by patterns and merged in order, whatever version each has', async () => {
    const config = await load({
      'config.toml': 'version = 2\nimports = ["conf.d/*.toml", "DIR/last.toml"]\nroot = "/a"',
      'conf.d/2.toml': 'version = 3\nroot = "/c"\n[grpc]\naddress = "/2"',
      'conf.d/1.toml': 'disabled_plugins = ["cri"]\nroot = "/b"\n[grpc]\naddress = "/1"',
      'conf.d/3.txt': 'root = "/never"',
      'last.toml': `version = 4\n[plugins."${grpc}"]\ngid = 7`,
    })
    assert.equal(config.root, '/c')
    assert.deepEqual(config.disabledPlugins, ['io.containerd.grpc.v1.cri'])
    assert.deepEqual(
      [config.address, config.ttrpcAddress, sectionOf(config, grpc)['gid']],
      ['/2', '/2.ttrpc', 7],
    )
    assert.deepEqual(
      config.files.map(({ path, version }) => [path.split('/').at(-1), version]),
      [
        ['config.toml', 2],
        ['1.toml', 1],
        ['2.toml', 3],
        ['last.toml', 4],
      ],
    )
  })

  void test('are read breadth first, each once, also in a circle', async () => {
    const config = await load({
      'config.toml': 'version = 2\nimports = ["a.toml", "b.toml"]',
      'a.toml': 'version = 2\nimports = ["c.toml", "config.toml"]\nroot = "/a"',
      'b.toml': 'version = 2\nimports = ["a.toml"]\nroot = "/b"',
      'c.toml': 'version = 2\nroot = "/c"',
    })
    assert.equal(config.root, '/c')
    assert.equal(config.files.length, 4)
  })

  void test('that are missing are named, with the file that wants them', async () => {
    await assert.rejects(load({ 'config.toml': 'imports = ["none.toml"]' }), (err: Error) => {
      assert.match(describe(err), /imported by ".*\/config\.toml": config file ".*\/none\.toml"/)
      return codeOf(err) === 'not_found'
    })
    assert.equal((await load({ 'config.toml': 'imports = ["none/*.toml"]' })).files.length, 1)
  })

  void test('are found as containerd finds them, hidden files too', async () => {
    const files = { 'd/.h.toml': 'version = 2\noom_score = 7', 'd/e/f.toml': 'root =' }
    const config = await load({ 'config.toml': 'version = 2\nimports = ["d/*.toml"]', ...files })
    assert.equal(config.oomScore, 7)
    await assert.rejects(load({ 'config.toml': 'version = 2\nimports = ["d/[*"]' }), (err) => {
      assert.match(describe(err), /config\.toml": imports: .*d\/\[\*: syntax error in pattern/)
      return true
    })
  })

  void test('are not read from conf.d unless a file says so', async () => {
    const config = await load({ 'config.toml': 'version = 2', 'conf.d/a.toml': 'root = "/a"' })
    assert.equal(config.root, '/var/lib/containerd')
  })
})

void suite('a merge', () => {
  const merged = async (main: string, imported: string): Promise<Config> =>
    await load({ 'config.toml': `version = 3\nimports = ["b.toml"]\n${main}`, 'b.toml': imported })

  void test('keeps what a later file leaves empty, above the plugins', async () => {
    const config = await merged(
      'root = "/a"\noom_score = 5\n[debug]\nlevel = "warn"',
      'version = 3\nroot = ""\noom_score = 0\n[debug]\nformat = "json"',
    )
    assert.deepEqual(
      [config.root, config.oomScore, config.debug.level, config.debug.format],
      ['/a', 5, 'warn', 'json'],
    )
  })

  void test('joins lists above the plugins and replaces those of plugins', async () => {
    const overlay = 'plugins."io.containerd.snapshotter.v1.overlayfs"'
    const config = await merged(
      `disabled_plugins = ["a.b", "c.d"]\n[${overlay}]\nmount_options = ["a"]\nsync_remove = true\nroot_path = "/x"`,
      `version = 3\ndisabled_plugins = ["c.d", "e.f"]\n[${overlay}]\nmount_options = ["b"]\nsync_remove = false`,
    )
    assert.deepEqual(config.disabledPlugins, ['a.b', 'c.d', 'e.f'])
    const section = sectionOf(config, 'io.containerd.snapshotter.v1.overlayfs')
    assert.deepEqual(
      [section['mount_options'], section['sync_remove'], section['root_path']],
      [['b'], false, '/x'],
    )
  })

  void test('replaces a stream processor, a proxy plugin and a timeout whole', async () => {
    const config = await merged(
      '[stream_processors.p]\npath = "/p"\nargs = ["x"]\n[proxy_plugins.s]\ntype = "snapshot"\naddress = "/s"\nplatform = "linux/amd64"\n[timeouts]\na = "1s"\nb = "1s"',
      'version = 3\n[stream_processors.p]\npath = "/q"\n[proxy_plugins.s]\ntype = "content"\naddress = "/t"\n[timeouts]\nb = "2s"',
    )
    const processor = config.streamProcessors.find(({ id }) => id === 'p')
    assert.deepEqual([processor?.path, processor?.args], ['/q', []])
    assert.deepEqual(config.proxyPlugins, [
      {
        name: 's',
        type: 'content',
        address: '/t',
        platform: '',
        exports: {},
        capabilities: [],
      },
    ])
    assert.deepEqual([config.timeouts.get('a'), config.timeouts.get('b')], [1000, 2000])
  })
})

void suite('flags', () => {
  void test('win over the file, and ttrpc follows --address', () => {
    const flags = { root: '/r', state: '/s', address: '/x', level: 'debug' }
    const config = parse('version = 2\nroot = "/a"\n[grpc]\naddress = "/g"\ngid = 3', flags)
    assert.deepEqual(
      [config.root, config.state, config.address, config.ttrpcAddress, config.debug.level],
      ['/r', '/s', '/x', '/x.ttrpc', 'debug'],
    )
    assert.equal(sectionOf(config, ttrpc)['gid'], 3)
  })

  void test('are relative to where the command was called: shims are elsewhere', () => {
    const config = parse('version = 4', { root: 'r', state: './s', address: 'x/y.sock' })
    const here = process.cwd()
    assert.deepEqual(
      [config.root, config.state, config.address, config.ttrpcAddress],
      [`${here}/r`, `${here}/s`, `${here}/x/y.sock`, `${here}/x/y.sock.ttrpc`],
    )
    for (const address of ['/a/b', 'unix:///a', '@a', 'vsock://2:3']) {
      assert.equal(parse('version = 4', { address }).address, address)
    }
  })

  void test('leave ttrpc where a file puts it', () => {
    const v2 = parse('version = 2\n[ttrpc]\naddress = "/t"', { address: '/x' })
    const v4 = parse(`version = 4\n[plugins."${ttrpc}"]\nuid = 0`, { address: '/x' })
    assert.equal(v2.ttrpcAddress, '/t')
    assert.equal(v4.ttrpcAddress, '/run/containerd/containerd.sock.ttrpc')
  })
})

void suite('a mistake', () => {
  const unknown = (text: string): string[] => parse(text).unknownKeys.map(unknownKeyText)

  for (const [text, expected] of [
    ['version = 2\nrooot = "/a"', 'line 2: unknown key rooot; did you mean root?'],
    ['[debug]\nlevle = "x"', 'line 2: unknown key debug.levle; did you mean level?'],
    [
      'version = 2\n\n[grpc]\n  adress = "/a"',
      'line 4: unknown key grpc.adress; did you mean address?',
    ],
    [
      `version = 2\n[plugins."${gc}"]\npause_treshold = 1`,
      `line 3: unknown key plugins."${gc}".pause_treshold; did you mean pause_threshold?`,
    ],
    [
      '[plugins.scheduler]\npause_treshold = 1',
      'line 2: unknown key plugins.scheduler.pause_treshold; did you mean pause_threshold?',
    ],
    [
      'version = 2\nplugins."io.containerd.grpc.v1.cri" = { enable_selinus = true }',
      'line 2: unknown key plugins."io.containerd.grpc.v1.cri".enable_selinus; did you mean enable_selinux?',
    ],
    [
      'version = 2\n[plugins."io.containerd.gc.v1.schedular"]\na = 1',
      'line 2: unknown key plugins."io.containerd.gc.v1.schedular"; did you mean io.containerd.gc.v1.scheduler?',
    ],
    [
      'version = 2\n[stream_processors.x]\npaht = "x"',
      'line 3: unknown key stream_processors.x.paht; did you mean path?',
    ],
    ['version = 2\n[zzzzzzzzzzz]', 'line 2: unknown key zzzzzzzzzzz'],
  ] as const) {
    void test(`is named: ${expected}`, () => {
      assert.deepEqual(unknown(text), [`config file "config.toml", ${expected}`])
    })
  }

  void test('is an error when the configuration is strict, or is checked', () => {
    assert.throws(() => parse('version = 2\nstrict = true\nrooot = "/a"'), /line 3: unknown key/)
    const config = parse('rooot = "/a"\nstat = "/b"')
    assert.throws(() => refuseUnknownKeys(config.unknownKeys), /rooot.*\n.*stat/)
  })

  for (const [text, message] of [
    ['root = 5', 'config file "config.toml", line 1: root must be a string, not a number'],
    ['root = ""', 'root must be specified'],
    ['state = ""', 'state must be specified'],
    ['root = "/a"\nstate = "/a"', 'root and state must be different paths'],
    [
      'version = 2\ndisabled_plugins = ["cri"]',
      'invalid disabled plugin URI "cri" expect io.conta',
    ],
    [
      'version = 2\nrequired_plugins = ["cri"]',
      'invalid required plugin URI "cri" expect io.conta',
    ],
    ['[timeouts]\na = "5 s"', 'line 2: timeouts.a: unable to parse 5 s into a time duration'],
    ['[timeouts]\na = 5', 'line 2: timeouts.a must be a string'],
    [
      '[plugins.scheduler]\nschedule_delay = "1 minute"',
      'line 2: plugins.scheduler.schedule_delay: unable to parse 1 minute into a time duration',
    ],
    ['[grpc]\nuid = "me"', 'line 2: grpc.uid must be a number, not a string'],
    ['plugins = 5', 'line 1: plugins must be a table, not a value'],
    ['[debug]\nlevel = "loud"', 'debug.level: not a valid logrus Level: "loud"'],
    ['[debug]\nformat = "xml"', 'debug.format: unknown log format: xml'],
    ['root = ', 'config file "config.toml", line 1, column 8: '],
    ['imports = 5', 'imports must be a list, not a number'],
  ] as const) {
    void test(`is refused: ${message}`, () => {
      assert.throws(
        () => parse(text),
        (err: Error) => {
          assert.ok(err.message.includes(message), err.message)
          return codeOf(err) === 'invalid_argument'
        },
      )
    })
  }

  void test('in the syntax is told once, on one line', () => {
    assert.throws(
      () => parse('root =='),
      (err) => {
        assert.equal(
          describe(err),
          'config file "config.toml", line 1, column 7: invalid value: invalid argument',
        )
        return true
      },
    )
  })

  void test('keys of containerd that do nothing here are no mistake, and are known', () => {
    const config = parse(
      'version = 2\n[plugins."io.containerd.runtime.v2.task"]\nshim_debug = true\n[plugins."io.containerd.snapshotter.v1.devmapper"]\npool_name = "p"\nfs_type = ""',
    )
    assert.deepEqual(config.unknownKeys, [])
    assert.deepEqual(config.inertKeys, [
      ['plugins', 'io.containerd.runtime.v2.task', 'shim_debug'],
      ['plugins', 'io.containerd.snapshotter.v1.devmapper', 'pool_name'],
    ])
  })
})
