import type { Capabilities, DeviceRule, Linux, LinuxNamespace, Spec, SpecMount } from './types.ts'

/*
 * The container that nobody asked anything special of. Source: upstream `pkg/oci/spec.go`,
 * `mounts.go`, and `WithDefaultUnixDevices`.
 */

const names = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FSETID',
  'CAP_FOWNER',
  'CAP_MKNOD',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_SYS_CHROOT',
  'CAP_KILL',
  'CAP_AUDIT_WRITE',
] as const

/** What root may do inside. */
export const defaultCapabilities: Capabilities = {
  bounding: names,
  effective: names,
  permitted: names,
}

/** The search path of an image that has no environment. */
export const defaultEnv: readonly string[] = [
  'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
]

const namespaces: readonly LinuxNamespace[] = [
  { type: 'pid' },
  { type: 'ipc' },
  { type: 'uts' },
  { type: 'mount' },
  { type: 'network' },
]

const mount = (destination: string, type: string, source: string, options: string): SpecMount => ({
  destination,
  type,
  source,
  options: options.split(','),
})

const mounts: readonly SpecMount[] = [
  mount('/proc', 'proc', 'proc', 'nosuid,noexec,nodev'),
  mount('/dev', 'tmpfs', 'tmpfs', 'nosuid,strictatime,mode=755,size=65536k'),
  mount('/dev/pts', 'devpts', 'devpts', 'nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5'),
  mount('/dev/shm', 'tmpfs', 'shm', 'nosuid,noexec,nodev,mode=1777,size=65536k'),
  mount('/dev/mqueue', 'mqueue', 'mqueue', 'nosuid,noexec,nodev'),
  mount('/sys', 'sysfs', 'sysfs', 'nosuid,noexec,nodev,ro'),
  mount('/run', 'tmpfs', 'tmpfs', 'nosuid,strictatime,mode=755,size=65536k'),
]

const allow = (access: string, major?: number, minor?: number): DeviceRule => ({
  allow: true,
  type: 'c',
  access,
  ...(major !== undefined && { major }),
  ...(minor !== undefined && { minor }),
})

/** Nothing, then nodes of any kind may be made, then null, random, full, tty, zero, urandom, console, ptys. */
const devices: readonly DeviceRule[] = [
  { allow: false, access: 'rwm' },
  allow('m'),
  { allow: true, type: 'b', access: 'm' },
  allow('rwm', 1, 3),
  allow('rwm', 1, 8),
  allow('rwm', 1, 7),
  allow('rwm', 5, 0),
  allow('rwm', 1, 5),
  allow('rwm', 1, 9),
  allow('rwm', 5, 1),
  allow('rwm', 136),
  allow('rwm', 5, 2),
]

const linux: Omit<Linux, 'cgroupsPath'> = {
  maskedPaths: [
    '/proc/acpi',
    '/proc/asound',
    '/proc/kcore',
    '/proc/keys',
    '/proc/latency_stats',
    '/proc/timer_list',
    '/proc/timer_stats',
    '/proc/sched_debug',
    '/sys/firmware',
    '/sys/devices/virtual/powercap',
    '/proc/scsi',
  ],
  readonlyPaths: ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'],
  resources: { devices },
  namespaces,
}

/** The spec of container `id` before anything is known of its image. */
export const defaultSpec = (namespace: string, id: string): Spec => ({
  ociVersion: '1.1.0',
  process: {
    user: { uid: 0, gid: 0, additionalGids: [0] },
    args: [],
    env: defaultEnv,
    cwd: '/',
    capabilities: defaultCapabilities,
    rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 }],
    noNewPrivileges: true,
  },
  root: { path: 'rootfs' },
  mounts,
  linux: { ...linux, cgroupsPath: `/${namespace}/${id}` },
})
