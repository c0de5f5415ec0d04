import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { codeOf } from '#lib/errors/errors.ts'

import { migrate } from './migrate.ts'
import { parseDocument } from './parse.ts'

/** What a file means in version 4, as a table. */
function migrated(text: string): Record<string, unknown> {
  const { tree } = parseDocument(text, 'config.toml')
  migrate(tree)
  const { version, ...rest } = tree.toTable()
  assert.equal(version, 4)
  return rest
}

const section = (uri: string, body: string): string => `[plugins."${uri}"]\n${body}\n`

interface Rule {
  readonly what: string
  readonly from: string
  readonly to: Record<string, unknown>
}

const names: readonly Rule[] = [
  ['cri', 'io.containerd.grpc.v1.cri'],
  ['cgroups', 'io.containerd.monitor.task.v1.cgroups'],
  ['linux', 'io.containerd.runtime.v1.linux'],
  ['scheduler', 'io.containerd.gc.v1.scheduler'],
  ['bolt', 'io.containerd.metadata.v1.bolt'],
  ['task', 'io.containerd.runtime.v2.task'],
  ['opt', 'io.containerd.internal.v1.opt'],
  ['restart', 'io.containerd.monitor.container.v1.restart'],
  ['tracing', 'io.containerd.internal.v1.tracing'],
  ['otlp', 'io.containerd.tracing.processor.v1.otlp'],
  ['aufs', 'io.containerd.snapshotter.v1.aufs'],
  ['btrfs', 'io.containerd.snapshotter.v1.btrfs'],
  ['devmapper', 'io.containerd.snapshotter.v1.devmapper'],
  ['native', 'io.containerd.snapshotter.v1.native'],
  ['overlayfs', 'io.containerd.snapshotter.v1.overlayfs'],
  ['zfs', 'io.containerd.snapshotter.v1.zfs'],
  ['windows', 'io.containerd.snapshotter.v1.windows'],
  ['diff-service', 'io.containerd.service.v1.diff-service'],
  ['anything', 'io.containerd.grpc.v1.anything'],
  ['com.example.own', 'com.example.own'],
].map(([name = '', uri = '']) => ({
  what: `the plugin ${name} of version 1 is ${uri}`,
  from: `plugins."${name}".stream_server_port = "1"`,
  to: { plugins: { [uri]: { stream_server_port: '1' } } },
}))

const cri = 'io.containerd.grpc.v1.cri'
const runtime = 'io.containerd.cri.v1.runtime'
const images = 'io.containerd.cri.v1.images'

const criRules: readonly Rule[] = [
  ...(['registry', 'image_decryption'] as const).map((key) => ({
    what: `${key} goes to the images`,
    from: `version = 2\n[plugins."${cri}".${key}]\na = 1`,
    to: { plugins: { [cri]: {}, [images]: { [key]: { a: 1 } } } },
  })),
  ...[
    'max_concurrent_downloads',
    'image_pull_progress_timeout',
    'image_pull_with_sync_fs',
    'stats_collect_period',
  ].map((key) => ({
    what: `${key} goes to the images`,
    from: `version = 2\n${section(cri, `${key} = 1`)}`,
    to: { plugins: { [cri]: {}, [images]: { [key]: 1 } } },
  })),
  ...['snapshotter', 'disable_snapshot_annotations', 'discard_unpacked_layers'].map((key) => ({
    what: `containerd.${key} goes to the images`,
    from: `version = 2\n[plugins."${cri}".containerd]\n${key} = true`,
    to: { plugins: { [cri]: {}, [runtime]: { containerd: {} }, [images]: { [key]: true } } },
  })),
  ...['disable_tcp_service', 'stream_server_address', 'stream_server_port'].map((key) => ({
    what: `${key} stays with the server`,
    from: `version = 2\n${section(cri, `${key} = "x"`)}`,
    to: { plugins: { [cri]: { [key]: 'x' } } },
  })),
  {
    what: 'sandbox_image is a pinned image',
    from: `version = 2\n${section(cri, 'sandbox_image = "pause"')}`,
    to: { plugins: { [cri]: {}, [images]: { pinned_images: { sandbox: 'pause' } } } },
  },
  {
    what: 'what else there is goes to the runtime',
    from: `version = 2\n${section(cri, 'enable_selinux = true')}`,
    to: { plugins: { [cri]: {}, [runtime]: { enable_selinux: true } } },
  },
  {
    what: 'cni.bin_dir is the only one of bin_dirs',
    from: `version = 2\n[plugins."${cri}".cni]\nbin_dir = "/b"\nconf_dir = "/c"`,
    to: { plugins: { [cri]: {}, [runtime]: { cni: { bin_dirs: ['/b'], conf_dir: '/c' } } } },
  },
  {
    what: 'a runtime keeps its snapshotter, and images are pulled for it',
    from: `version = 2\n[plugins."${cri}".containerd.runtimes.kata]\nsandbox_mode = "shim"\nsnapshotter = "nydus"`,
    to: {
      plugins: {
        [cri]: {},
        [runtime]: {
          containerd: { runtimes: { kata: { sandboxer: 'shim', snapshotter: 'nydus' } } },
        },
        [images]: { runtime_platforms: { kata: { snapshotter: 'nydus' } } },
      },
    },
  },
  {
    what: 'what version 3 says wins over what version 2 says',
    from: `version = 2\n${section(cri, 'enable_selinux = true\nmax_concurrent_downloads = 1')}${section(runtime, 'enable_selinux = false')}${section(images, 'max_concurrent_downloads = 2')}`,
    to: {
      plugins: {
        [cri]: {},
        [runtime]: { enable_selinux: false },
        [images]: { max_concurrent_downloads: 2 },
      },
    },
  },
]

const server = (id: string): string => `io.containerd.server.v1.${id}`
const grpcAt = (address: string) => ({ [server('grpc')]: { address } })

const serverRules: readonly Rule[] = [
  {
    what: 'core scheduling is a variable of shims',
    from: `version = 2\n${section('io.containerd.runtime.v2.task', 'sched_core = true')}`,
    to: {
      plugins: {
        'io.containerd.runtime.v2.task': {},
        'io.containerd.shim.v1.manager': { env: ['SCHED_CORE=1'] },
      },
    },
  },
  {
    what: 'ttrpc is beside gRPC and owned like it',
    from: 'version = 2\n[grpc]\naddress = "/g"\nuid = 1\ngid = 2',
    to: {
      plugins: {
        [server('grpc')]: { address: '/g', uid: 1, gid: 2 },
        [server('ttrpc')]: { address: '/g.ttrpc', uid: 1, gid: 2 },
      },
    },
  },
  {
    what: 'ttrpc has the address and the owner that it is given',
    from: 'version = 3\n[grpc]\naddress = "/g"\nuid = 1\n[ttrpc]\naddress = "/t"\ngid = 5',
    to: {
      plugins: {
        [server('grpc')]: { address: '/g', uid: 1 },
        [server('ttrpc')]: { address: '/t', gid: 5 },
      },
    },
  },
  {
    what: 'an owner without an address is kept',
    from: 'version = 3\n[grpc]\ngid = 2\n',
    to: { plugins: { [server('grpc')]: { gid: 2 } } },
  },
  {
    what: 'zeros say nothing',
    from: 'version = 3\n[grpc]\naddress = ""\nuid = 0\n[ttrpc]\naddress = ""\n[metrics]\naddress = ""\ngrpc_histogram = false\n[debug]\naddress = ""\nuid = 0',
    to: {},
  },
  {
    what: 'TCP is a server of its own',
    from: 'version = 3\n[grpc]\ntcp_address = "a:1"\ntcp_tls_ca = "ca"\ntcp_tls_cert = "c"\ntcp_tls_key = "k"\ntcp_tls_common_name = "n"\nmax_recv_message_size = 5',
    to: {
      plugins: {
        [server('grpc')]: { max_recv_message_size: 5 },
        [server('grpc-tcp')]: {
          address: 'a:1',
          tls_ca: 'ca',
          tls_cert: 'c',
          tls_key: 'k',
          tls_common_name: 'n',
          max_recv_message_size: 5,
        },
      },
    },
  },
  {
    what: 'the level of the log stays, its socket goes',
    from: 'version = 3\n[debug]\naddress = "/d"\ngid = 4\nlevel = "debug"',
    to: {
      debug: { level: 'debug' },
      plugins: { [server('debug')]: { address: '/d', gid: 4 } },
    },
  },
  {
    what: 'metrics are a server and a counter',
    from: 'version = 3\n[metrics]\naddress = "a:1"\ngrpc_histogram = true',
    to: {
      plugins: {
        [server('metrics')]: { address: 'a:1' },
        'io.containerd.metrics.v1.grpc-prometheus': { grpc_histogram: true },
      },
    },
  },
  {
    what: 'what is in the new form already wins',
    from: `version = 3\n[grpc]\naddress = "/old"\n${section(server('grpc'), 'address = "/new"')}[ttrpc]\naddress = "/t"`,
    to: { plugins: { ...grpcAt('/new'), [server('ttrpc')]: { address: '/t' } } },
  },
  {
    what: 'ttrpc is by itself in version 4',
    from: 'version = 4\n[grpc]\naddress = "/g"',
    to: { plugins: grpcAt('/g') },
  },
  {
    what: 'what is unknown stays where it is',
    from: 'version = 2\n[grpc]\nadress = "/g"',
    to: { grpc: { adress: '/g' } },
  },
]

void suite('a migration', () => {
  for (const { what, from, to } of [...names, ...criRules, ...serverRules]) {
    void test(what, () => assert.deepEqual(migrated(from), to))
  }

  void test('names in lists become URIs too', () => {
    const lists = 'disabled_plugins = ["cri", "a.b"]\nrequired_plugins = ["task", "x-service"]'
    assert.deepEqual(migrated(lists), {
      disabled_plugins: ['io.containerd.grpc.v1.cri', 'a.b'],
      required_plugins: ['io.containerd.runtime.v2.task', 'io.containerd.service.v1.x-service'],
    })
    assert.deepEqual(migrated(`version = 2\n${lists}`)['disabled_plugins'], ['cri', 'a.b'])
  })

  for (const [version, message] of [
    ['5', 'equal to or less than `4`, got `5`'],
    ['"2"', 'version must be a whole number, not "2"'],
    ['1.5', 'version must be a whole number, not 1.5'],
    ['-1', 'version must be a whole number, not -1'],
  ] as const) {
    void test(`version ${version} is refused`, () => {
      assert.throws(
        () => migrated(`version = ${version}`),
        (err: Error) => codeOf(err) === 'invalid_argument' && err.message.includes(message),
      )
    })
  }
})
