import type { StreamProcessor } from '#core/diff/processors.ts'
import type { KeyPath } from '#lib/toml/key.ts'
import type { Plugin } from '#plugin/plugin.ts'

import type { settings } from './default.ts'
import type { Branch, Origin } from './tree.ts'

/** A plugin that another process is: `[proxy_plugins.<name>]`. */
export interface ProxyPlugin {
  readonly name: string
  /** `snapshot`, `content`, `diff`, `sandbox`, or the full name of a plugin type. */
  readonly type: string
  readonly address: string
  readonly platform: string
  readonly exports: Readonly<Record<string, string>>
  readonly capabilities: readonly string[]
}

/** Something a config file says that has no effect. */
export interface UnknownKey {
  /** As it is written in the file. */
  readonly key: string
  readonly file: string
  /** From 1. */
  readonly line: number | undefined
  /** The known key that looks most like it, if one does. */
  readonly nearest: string | undefined
}

/** What the files and the command line say, migrated and merged; not checked. */
export interface ConfigSource {
  /** Everything that was said, in the form of version 4, and where. */
  readonly tree: Branch
  /** Files that were read, in order, with the version each is of. */
  readonly files: readonly { readonly path: string; readonly version: number }[]
  /** The line of a value in its file, from 1. */
  readonly lineOf: (origin: Origin) => number | undefined
}

/** A source that has been checked against the plugins there are. */
export interface Config extends ConfigSource, Readonly<typeof settings> {
  /** What it was checked against, and what a daemon with it is made of. */
  readonly available: readonly Plugin[]
  /** Paths of the sockets, as the server plugins have them. */
  readonly address: string
  readonly ttrpcAddress: string
  /** In ms, by name; with the defaults. */
  readonly timeouts: ReadonlyMap<string, number>
  readonly streamProcessors: readonly StreamProcessor[]
  readonly proxyPlugins: readonly ProxyPlugin[]
  /** Sections of `[plugins]` by plugin URI, decoded with the plugin's defaults. */
  readonly plugins: ReadonlyMap<string, object>
  readonly unknownKeys: readonly UnknownKey[]
  /** Keys of containerd's that have no effect here, and are not set to their defaults. */
  readonly inertKeys: readonly KeyPath[]
}

/** Command line flags, which win over the files. */
export interface Overrides {
  readonly root?: string | undefined
  readonly state?: string | undefined
  readonly address?: string | undefined
  readonly level?: string | undefined
}
