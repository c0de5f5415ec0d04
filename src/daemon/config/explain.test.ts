import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { builtins } from '#daemon/builtins.ts'
import { codeOf } from '#lib/errors/errors.ts'
import { toSnake } from '#lib/toml/decode.ts'

import { explain, type Explanation, explanationText } from './explain.ts'
import { parseConfig } from './load.ts'

const config = parseConfig(
  `version = 2
oom_score = -5
[grpc]
  address = "/run/g.sock"
[plugins."io.containerd.gc.v1.scheduler"]
  pause_threshold = 0.05
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "pause"
[timeouts]
  "io.containerd.timeout.shim.load" = "30s"
`,
  builtins,
  { root: '/flag' },
)

function only(key: string): Explanation {
  const found = explain(key, config)
  assert.equal(found.length, 1)
  assert.ok(found[0])
  return found[0]
}

const gc = 'plugins."io.containerd.gc.v1.scheduler"'

void suite('config explain', () => {
  for (const [key, value, byDefault, from] of [
    ['root', '/flag', '/var/lib/containerd', 'flag --root'],
    ['state', '/run/containerd', '/run/containerd', 'default'],
    ['oom_score', -5, 0, 'config.toml:2'],
    [`${gc}.pause_threshold`, 0.05, 0.02, 'config.toml:6'],
    ['io.containerd.gc.v1.scheduler.pause_threshold', 0.05, 0.02, 'config.toml:6'],
    [`${gc}.deletion_threshold`, 0, 0, 'default'],
    ['timeouts.io.containerd.timeout.shim.load', '30s', '5s', 'config.toml:10'],
    ['timeouts."io.containerd.timeout.task.state"', '2s', '2s', 'default'],
    [
      'grpc.address',
      '/run/g.sock',
      '/run/containerd/containerd.sock',
      'config.toml:4, migration of grpc.address',
    ],
    [
      'io.containerd.server.v1.ttrpc.address',
      '/run/g.sock.ttrpc',
      '/run/containerd/containerd.sock.ttrpc',
      'config.toml:4, follows from grpc.address',
    ],
    [
      'plugins.cri.sandbox_image',
      'pause',
      '',
      'config.toml:8, migration of plugins."io.containerd.grpc.v1.cri".sandbox_image',
    ],
    ['metrics.grpc_histogram', false, false, 'default'],
    ['grpc.tcp_tls_ca', '', '', 'default'],
    ['debug.address', '', '', 'default'],
  ] as const) {
    void test(`${key} is ${value}, from ${from}`, () => {
      const found = only(key)
      assert.deepEqual(
        { value: found.value, default: found.default, from: found.from },
        { value, default: byDefault, from },
      )
      assert.notEqual(found.meaning, '')
    })
  }

  void test('a section is all of its keys', () => {
    const found = explain('io.containerd.gc.v1.scheduler', config)
    assert.equal(found.length, 5)
    assert.ok(found.every((key) => key.key.startsWith(gc)))
  })

  void test('a section that version 4 has no more is all of its keys, where they are now', () => {
    const keysOf = (text: string) => explain(text, config).map(({ key }) => key)
    const grpc = keysOf('grpc')
    assert.ok(grpc.includes('plugins."io.containerd.server.v1.grpc".gid'))
    assert.ok(grpc.includes('plugins."io.containerd.server.v1.grpc-tcp".tls_ca'))
    assert.deepEqual(keysOf('audit'), [
      'plugins."io.wharf.audit.v1.log".level',
      'plugins."io.wharf.audit.v1.log".path',
    ])
    assert.deepEqual(keysOf('debug').slice(2), [
      'debug.log_trace_id',
      'plugins."io.containerd.server.v1.debug".address',
      'plugins."io.containerd.server.v1.debug".uid',
      'plugins."io.containerd.server.v1.debug".gid',
    ])
  })

  void test('the defaults of a stream processor are its own', () => {
    const decoder = 'stream_processors."io.containerd.ocicrypt.decoder.v1.tar"'
    assert.equal(only(`${decoder}.path`).default, 'ctd-decoder')
    assert.equal(only('stream_processors.mine.path').default, '')
  })

  void test('what can be applied at once is told from what waits', () => {
    assert.equal(only('debug.level').change, 'applied on SIGHUP')
    assert.equal(only(`${gc}.pause_threshold`).change, 'applied on SIGHUP')
    assert.equal(only(`${gc}.startup_delay`).change, 'needs a restart')
    assert.equal(only('root').change, 'needs a restart')
  })

  void test('a key that does not exist is refused with the nearest one', () => {
    assert.throws(
      () => explain('debug.levl', config),
      (err: Error) =>
        codeOf(err) === 'not_found' && err.message.includes('did you mean debug.level?'),
    )
    assert.throws(() => explain('pause_threshold', config), /did you mean plugins\..*pause_thr/)
    assert.throws(() => explain('a..b', config), /is not a dotted key/)
  })

  void test('it reads as text', () => {
    assert.equal(
      explanationText(only('oom_score')),
      `key:      oom_score
meaning:  The OOM score adjustment of the daemon, -1000 to 1000; 0 leaves it alone.
default:  0
value:    -5
from:     config.toml:2
change:   needs a restart
`,
    )
  })

  void test('every key of every plugin has a meaning', () => {
    for (const { uri, config: defaults, describe } of builtins) {
      for (const name of Object.keys(defaults)) {
        assert.ok(describe[name], `${uri}.${toSnake(name)} has no description`)
      }
    }
  })
})
