/*
 * Keys that containerd has, or had, and that have no effect here: sections of plugins which are not
 * built, and keys that built plugins do not have. A configuration that has them is right, so they are
 * no unknown keys; that they do nothing is said once at start.
 *
 * The values are containerd's defaults: a key that is set to its default asks for nothing. Names are as
 * in the file. `*` is the entry of a table whose keys are free, `{}` is any table. A built plugin
 * does not have to leave this table: its own keys come first.
 *
 * Source: `containerd config default` of 1.6 and 2.1, and the plugins' configuration types upstream.
 */

/** Keys of a section with their defaults, in the names of the file. */
export interface Shape {
  readonly [key: string]: Shape | string | number | boolean | readonly (string | Shape)[]
}

const noStrings: readonly string[] = []
const anyTable: Shape = {}
const rootPath: Shape = { root_path: '' }
const messageSizes: Shape = {
  max_recv_message_size: 16 * 1024 * 1024,
  max_send_message_size: 16 * 1024 * 1024,
}

const runtimeHandler: Shape = {
  runtime_type: '',
  runtime_path: '',
  runtime_engine: '',
  runtime_root: '',
  pod_annotations: noStrings,
  container_annotations: noStrings,
  options: anyTable,
  privileged_without_host_devices: false,
  privileged_without_host_devices_all_devices_allowed: false,
  cgroup_writable: false,
  base_runtime_spec: '',
  cni_conf_dir: '',
  cni_max_conf_num: 0,
  snapshotter: '',
  sandboxer: '',
  sandbox_mode: '',
  disable_pause_image_pull: false,
  io_type: '',
}

const auth: Shape = { username: '', password: '', auth: '', identitytoken: '' }

const criRuntime: Shape = {
  enable_selinux: false,
  selinux_category_range: 1024,
  max_container_log_line_size: 16 * 1024,
  disable_apparmor: false,
  disable_cgroup: false,
  restrict_oom_score_adj: false,
  disable_proc_mount: false,
  unset_seccomp_profile: '',
  systemd_cgroup: false,
  tolerate_missing_hugetlb_controller: true,
  disable_hugetlb_controller: true,
  device_ownership_from_security_context: false,
  ignore_image_defined_volumes: false,
  netns_mounts_under_state_dir: false,
  enable_unprivileged_ports: true,
  enable_unprivileged_icmp: true,
  enable_cdi: true,
  cdi_spec_dirs: ['/etc/cdi', '/var/run/cdi'],
  drain_exec_sync_io_timeout: '0s',
  ignore_deprecation_warnings: noStrings,
  stats_collect_period: '',
  stats_retention_period: '',
  enable_criu: true,
  containerd: {
    default_runtime_name: 'runc',
    ignore_blockio_not_enabled_errors: false,
    ignore_rdt_not_enabled_errors: false,
    no_pivot: false,
    default_runtime: runtimeHandler,
    untrusted_workload_runtime: runtimeHandler,
    runtimes: { '*': runtimeHandler },
  },
  cni: {
    bin_dir: '',
    bin_dirs: ['/opt/cni/bin'],
    conf_dir: '/etc/cni/net.d',
    max_conf_num: 1,
    setup_serially: false,
    conf_template: '',
    ip_pref: '',
    use_internal_loopback: false,
  },
}

const criImages: Shape = {
  snapshotter: 'overlayfs',
  disable_snapshot_annotations: true,
  discard_unpacked_layers: false,
  pinned_images: { '*': '' },
  runtime_platforms: { '*': { platform: '', snapshotter: '' } },
  registry: {
    config_path: '',
    mirrors: { '*': { endpoint: noStrings } },
    configs: {
      '*': {
        auth,
        tls: { insecure_skip_verify: false, ca_file: '', cert_file: '', key_file: '' },
      },
    },
    auths: { '*': auth },
    headers: { '*': noStrings },
  },
  image_decryption: { key_model: 'node' },
  max_concurrent_downloads: 3,
  concurrent_layer_fetch_buffer: 0,
  image_pull_progress_timeout: '5m0s',
  image_pull_with_sync_fs: false,
  stats_collect_period: 10,
  use_local_image_pull: false,
}

const criServer: Shape = {
  disable_tcp_service: true,
  stream_server_address: '127.0.0.1',
  stream_server_port: '0',
  stream_idle_timeout: '4h0m0s',
  enable_tls_streaming: false,
  x509_key_pair_streaming: { tls_cert_file: '', tls_key_file: '' },
}

const nri: Shape = {
  disable: false,
  socket_path: '/var/run/nri/nri.sock',
  plugin_path: '/opt/nri/plugins',
  plugin_config_path: '/etc/nri/conf.d',
  plugin_registration_timeout: '5s',
  plugin_request_timeout: '2s',
  disable_connections: false,
  default_validator: {
    enable: false,
    reject_oci_hook_adjustment: false,
    reject_runtime_default_seccomp_adjustment: false,
    reject_unconfined_seccomp_adjustment: false,
    reject_custom_seccomp_adjustment: false,
    reject_namespace_adjustment: false,
    reject_sysctl_adjustment: false,
    required_plugins: noStrings,
    tolerate_missing_plugins_annotation: '',
  },
}

const transfer: Shape = {
  max_concurrent_downloads: 3,
  concurrent_layer_fetch_buffer: 0,
  max_concurrent_uploaded_layers: 3,
  max_concurrent_unpacks: 1,
  check_platform_supported: false,
  config_path: '',
  unpack_config: [
    {
      platform: '',
      snapshotter: '',
      differ: '',
      config_type: '',
      layer_types: noStrings,
      optional: false,
    },
  ],
}

/** Sections of `[plugins]` by URI. */
export const knownPlugins: Readonly<Record<string, Shape>> = {
  'io.containerd.cri.v1.images': criImages,
  'io.containerd.cri.v1.runtime': criRuntime,
  'io.containerd.grpc.v1.cri': criServer,
  'io.containerd.nri.v1.nri': nri,
  'io.containerd.transfer.v1.local': transfer,
  'io.containerd.internal.v1.tracing': { service_name: '', sampling_ratio: 0.5 },
  'io.containerd.metrics.v1.grpc-prometheus': { grpc_histogram: false },
  'io.containerd.runtime.v1.linux': {
    no_shim: false,
    runtime: 'runc',
    runtime_root: '',
    shim: 'containerd-shim',
    shim_debug: false,
  },
  'io.containerd.runtime.v2.task': { sched_core: false, shim_debug: false },
  'io.containerd.server.v1.debug': { address: '', uid: 0, gid: 0 },
  'io.containerd.server.v1.grpc-tcp': {
    address: '',
    tls_ca: '',
    tls_cert: '',
    tls_key: '',
    tls_common_name: '',
    ...messageSizes,
  },
  'io.containerd.server.v1.metrics': { address: '' },
  'io.containerd.service.v1.diff-service': { default: ['walking'], sync_fs: false },
  'io.containerd.service.v1.tasks-service': { blockio_config_file: '', rdt_config_file: '' },
  'io.containerd.shim.v1.manager': { env: noStrings, socket_dir: '' },
  'io.containerd.snapshotter.v1.aufs': rootPath,
  'io.containerd.snapshotter.v1.blockfile': {
    ...rootPath,
    scratch_file: '',
    fs_type: '',
    mount_options: noStrings,
    recreate_scratch: false,
  },
  'io.containerd.snapshotter.v1.btrfs': rootPath,
  'io.containerd.snapshotter.v1.devmapper': {
    ...rootPath,
    pool_name: '',
    base_image_size: '',
    async_remove: false,
    discard_blocks: false,
    fs_type: '',
    fs_options: '',
  },
  'io.containerd.snapshotter.v1.zfs': rootPath,
  'io.containerd.tracing.processor.v1.otlp': { endpoint: '', protocol: '', insecure: false },
}
