/** What `config.toml` means when it says nothing: containerd's own defaults. */
export const defaultConfigPath = '/etc/containerd/config.toml'

/**
 * The keys above the plugins, with their defaults; the values are also the schema. Keys here are in
 * camel case, in the file in snake case. Source: upstream `srvconfig.Config`, version 2.
 */
export const defaults = {
  version: 2,
  root: '/var/lib/containerd',
  state: '/run/containerd',
  temp: '',
  pluginDir: '',
  oomScore: 0,
  imports: noStrings(),
  disabledPlugins: noStrings(),
  requiredPlugins: noStrings(),
  debug: { address: '', uid: 0, gid: 0, level: 'info', format: 'text' },
  metrics: { address: '', grpcHistogram: false },
  cgroup: { path: '' },
  grpc: {
    address: '/run/containerd/containerd.sock',
    tcpAddress: '',
    tcpTlsCa: '',
    tcpTlsCert: '',
    tcpTlsKey: '',
    uid: 0,
    gid: 0,
    maxRecvMessageSize: 16 * 1024 * 1024,
    maxSendMessageSize: 16 * 1024 * 1024,
  },
  ttrpc: { address: '', uid: 0, gid: 0 },
}

function noStrings(): readonly string[] {
  return []
}
