import type { Plugin } from '#plugin/plugin.ts'
import { contentPlugin } from '#plugins/content/local/plugin.ts'
import { erofsDifferPlugin } from '#plugins/diff/erofs/plugin.ts'
import { walkingPlugin } from '#plugins/diff/walking/plugin.ts'
import { exchangePlugin } from '#plugins/events/plugin.ts'
import { gcPlugin } from '#plugins/gc/plugin.ts'
import { leasesPlugin } from '#plugins/leases/plugin.ts'
import { metadataPlugin } from '#plugins/metadata/plugin.ts'
import { sandboxStorePlugin } from '#plugins/metadata/sandbox-store.ts'
import { grpcPrometheusPlugin } from '#plugins/metrics/plugin.ts'
import { taskMetricsPlugin } from '#plugins/metrics/tasks/plugin.ts'
import { erofsHandlerPlugin } from '#plugins/mounts/erofs/plugin.ts'
import { mountManagerPlugin } from '#plugins/mounts/plugin.ts'
import { optPlugin } from '#plugins/opt/plugin.ts'
import { restartPlugin } from '#plugins/restart/plugin.ts'
import { taskPlugin } from '#plugins/runtime/plugin.ts'
import { sandboxControllerPlugin } from '#plugins/runtime/sandbox-plugin.ts'
import { shimManagerPlugin } from '#plugins/runtime/shim-plugin.ts'
import { serverPlugins } from '#plugins/server/builtins.ts'
import { servicePlugins } from '#plugins/services/builtins.ts'
import { erofsPlugin } from '#plugins/snapshots/erofs/plugin.ts'
import { blockfilePlugin } from '#plugins/snapshots/blockfile/plugin.ts'
import { btrfsPlugin } from '#plugins/snapshots/btrfs/plugin.ts'
import { nativePlugin } from '#plugins/snapshots/native/plugin.ts'
import { overlayPlugin } from '#plugins/snapshots/overlay/plugin.ts'
import { streamManagerPlugin } from '#plugins/streaming/plugin.ts'
import { otlpPlugin, tracingPlugin } from '#plugins/tracing/plugin.ts'
import { binDirPlugin } from '#plugins/verifiers/bindir/plugin.ts'
import { transferPlugin } from '#plugins/transfer/local/plugin.ts'
import { policyPlugin } from '#plugins/verifiers/policy/plugin.ts'
import { deprecationsPlugin } from '#plugins/warning/plugin.ts'

/** Everything this daemon is made of. A plugin that is not listed here does not exist. */
export const builtins: readonly Plugin[] = [
  optPlugin,
  contentPlugin,
  overlayPlugin,
  nativePlugin,
  btrfsPlugin,
  blockfilePlugin,
  erofsPlugin,
  exchangePlugin,
  deprecationsPlugin,
  metadataPlugin,
  erofsHandlerPlugin,
  mountManagerPlugin,
  walkingPlugin,
  erofsDifferPlugin,
  gcPlugin,
  leasesPlugin,
  sandboxStorePlugin,
  streamManagerPlugin,
  transferPlugin,
  binDirPlugin,
  policyPlugin,
  shimManagerPlugin,
  taskPlugin,
  sandboxControllerPlugin,
  ...servicePlugins,
  restartPlugin,
  grpcPrometheusPlugin,
  taskMetricsPlugin,
  otlpPlugin,
  tracingPlugin,
  ...serverPlugins,
]
