import type { StreamProcessor } from '#core/diff/processors.ts'

/** What `config.toml` means when it says nothing: containerd's own defaults. */
export const defaultConfigPath = '/etc/containerd/config.toml'

/** What `config default` says to import; only a file that says so imports it. */
export const defaultImports: readonly string[] = ['/etc/containerd/conf.d/*.toml']

/** Where the gRPC socket is. */
export const defaultAddress = '/run/containerd/containerd.sock'

/**
 * The keys above the plugins, with their defaults; the values are also the schema. Keys here are in
 * camel case, in the file in snake case. Source: upstream `srvconfig.Config`, version 4.
 */
export const settings = {
  version: 4,
  root: '/var/lib/containerd',
  state: '/run/containerd',
  temp: '',
  strict: false,
  disabledPlugins: noStrings(),
  requiredPlugins: noStrings(),
  pluginDir: '',
  pluginsPackages: noStrings(),
  oomScore: 0,
  imports: noStrings(),
  debug: { level: '', format: '', logTraceId: false },
  cgroup: { path: '' },
}

/** What the keys above the plugins mean, by their names in the file. */
export const meanings: Readonly<Record<string, string>> = {
  version: 'The version of the file, 1 to 4; a file without it is of version 1.',
  root: 'Where data is that outlives a reboot: content, snapshots, metadata.',
  state: 'Where data is that a reboot may remove: sockets, bundles of running containers.',
  temp: 'Where temporary files go; it becomes TMPDIR. Empty for the system’s place.',
  strict: 'Whether an unknown key is an error instead of a warning.',
  disabled_plugins: 'Plugins that are not started, by URI; in version 1 by short name.',
  required_plugins: 'Plugins without which the daemon does not start, by URI.',
  plugin_dir: 'A directory whose ES modules are loaded as plugins.',
  plugins_packages: 'Packages that are loaded as plugins, by name.',
  oom_score: 'The OOM score adjustment of the daemon, -1000 to 1000; 0 leaves it alone.',
  imports: 'More config files, by path or pattern, which are merged over this one.',
  'debug.level':
    'How much is logged: trace, debug, info, warn, error, fatal or panic; info if empty.',
  'debug.format': 'The form of log lines: text or json; text if empty.',
  'debug.log_trace_id': 'Whether what a traced call logs carries the id of its trace.',
  'cgroup.path': 'The cgroup that the daemon joins; empty for none.',
  timeouts: 'How long to wait for what, by name, as Go durations; 0s waits without end.',
  stream_processors: 'Programs that turn layers of some media types into others.',
  proxy_plugins: 'Plugins of other processes, which are spoken to over a socket.',
}

/** What each entry of `[timeouts]` bounds. */
export const timeoutMeanings: Readonly<Record<string, string>> = {
  'io.containerd.timeout.bolt.open':
    'Waiting for another daemon to let go of the metadata; 0s is a second here.',
  'io.containerd.timeout.cri.defercleanup': 'Clean-up after a failed step of a pod.',
  'io.containerd.timeout.diff.processor': 'A stream processor that turns a layer into another.',
  'io.containerd.timeout.metrics.shimstats': 'Asking one shim for its statistics.',
  'io.containerd.timeout.shim.cleanup': 'Cleaning up after a shim that is gone.',
  'io.containerd.timeout.shim.load': 'Reconnecting to a shim when the daemon starts.',
  'io.containerd.timeout.shim.shutdown': 'Waiting for a shim to shut down.',
  'io.containerd.timeout.task.state': 'Asking a shim for the state of a task.',
  'io.wharf.timeout.sandbox.away':
    'The absence of a sandbox controller of another process while somebody waits for a sandbox.',
  'io.wharf.timeout.task.create': 'The creation of a container by a shim, with its hooks.',
  'io.wharf.timeout.task.delete': 'The deletion of a task or an exec by a shim.',
  'io.wharf.timeout.task.exec': 'The start of a further process by a shim.',
  'io.wharf.timeout.task.kill': 'The sending of a signal by a shim.',
  'io.wharf.timeout.task.start': 'The start of a container by a shim, with its hooks.',
}

/** `[stream_processors.<id>]` with its defaults. */
export const processorDefaults = {
  accepts: noStrings(),
  returns: '',
  path: '',
  args: noStrings(),
  env: noStrings(),
}

/** `[proxy_plugins.<name>]` with its defaults. */
export const proxyDefaults = {
  type: '',
  address: '',
  platform: '',
  exports: {},
  capabilities: noStrings(),
}

const layer = 'application/vnd.oci.image.layer.v1.tar'
const decoder = {
  path: 'ctd-decoder',
  args: ['--decryption-keys-path', '/etc/containerd/ocicrypt/keys'],
  env: ['OCICRYPT_KEYPROVIDER_CONFIG=/etc/containerd/ocicrypt/ocicrypt_keyprovider.conf'],
}

/** Decryption of layers, for machines that have the program for it. */
export const defaultProcessors: readonly StreamProcessor[] = [
  {
    id: 'io.containerd.ocicrypt.decoder.v1.tar',
    accepts: [`${layer}+encrypted`],
    returns: layer,
    ...decoder,
  },
  {
    id: 'io.containerd.ocicrypt.decoder.v1.tar.gzip',
    accepts: [`${layer}+gzip+encrypted`],
    returns: `${layer}+gzip`,
    ...decoder,
  },
]

function noStrings(): readonly string[] {
  return []
}

/** The keys above the plugins, as they are in `from`, in the version that is written. */
export const settingsOf = (from: Readonly<typeof settings>): typeof settings => ({
  version: settings.version,
  root: from.root,
  state: from.state,
  temp: from.temp,
  strict: from.strict,
  disabledPlugins: from.disabledPlugins,
  requiredPlugins: from.requiredPlugins,
  pluginDir: from.pluginDir,
  pluginsPackages: from.pluginsPackages,
  oomScore: from.oomScore,
  imports: from.imports,
  debug: from.debug,
  cgroup: from.cgroup,
})
