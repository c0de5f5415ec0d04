import type { DescMethod } from '@bufbuild/protobuf'

/**
 * The methods that change nothing, by service. Whatever is not here is taken to change something:
 * so a method that is new is refused to those who may only read, and is recorded.
 *
 * Missing on purpose: `Introspection/PluginInfo`, which runs a program that the request names, and
 * `Snapshots/View` and `Diff/Diff`, which store what they make.
 */
const reading: Readonly<Record<string, readonly string[]>> = {
  'containerd.services.containers.v1.Containers': ['Get', 'List', 'ListStream'],
  'containerd.services.content.v1.Content': ['Info', 'List', 'ListStatuses', 'Read', 'Status'],
  'containerd.services.diff.v1.Diff': [],
  'containerd.services.events.v1.Events': ['Subscribe'],
  'containerd.services.images.v1.Images': ['Get', 'List'],
  'containerd.services.introspection.v1.Introspection': ['Plugins', 'Server'],
  'containerd.services.leases.v1.Leases': ['List', 'ListResources'],
  'containerd.services.mounts.v1.Mounts': ['Info', 'List'],
  'containerd.services.namespaces.v1.Namespaces': ['Get', 'List'],
  'containerd.services.sandbox.v1.Controller': ['Metrics', 'Platform', 'Status', 'Wait'],
  'containerd.services.sandbox.v1.Store': ['Get', 'List'],
  'containerd.services.snapshots.v1.Snapshots': ['List', 'Mounts', 'Stat', 'Usage'],
  'containerd.services.streaming.v1.Streaming': [],
  'containerd.services.tasks.v1.Tasks': ['Get', 'List', 'ListPids', 'Metrics', 'Wait'],
  'containerd.services.transfer.v1.Transfer': [],
  'containerd.services.version.v1.Version': ['Version'],
  'grpc.health.v1.Health': ['Check', 'List', 'Watch'],
  'runtime.v1.ImageService': ['ImageFsInfo', 'ImageStatus', 'ListImages', 'StreamImages'],
  'runtime.v1.RuntimeService': [
    'ContainerStats',
    'ContainerStatus',
    'GetContainerEvents',
    'ListContainers',
    'ListContainerStats',
    'ListMetricDescriptors',
    'ListPodSandbox',
    'ListPodSandboxMetrics',
    'ListPodSandboxStats',
    'PodSandboxStats',
    'PodSandboxStatus',
    'RuntimeConfig',
    'Status',
    'Version',
  ],
}

/** Whether a call of `method` can leave anything behind. */
export const mutates = (method: Pick<DescMethod, 'name' | 'parent'>): boolean =>
  !(reading[method.parent.typeName]?.includes(method.name) ?? false)

/** Every service that the table knows. */
export const knownServices: readonly string[] = Object.keys(reading)
