import type { CredentialSource } from '#core/remotes/remotes.ts'
import type { Labels } from '#core/labels/labels.ts'
import type { AbortOptions } from '#lib/async/mutex.ts'

import type { TransferProgress } from './progress.ts'

/** What all transfers have in common. */
export interface TransferOptions extends AbortOptions {
  /** Hears how far it is. */
  readonly onProgress?: (progress: TransferProgress) => void
}

/** How to reach a registry. The daemon does; what is not said is as its configuration has it. */
export interface RegistryOptions extends TransferOptions {
  /**
   * Asked when the registry wants to know who one is. `dockerCredentials()` reads what `docker login`
   * left.
   */
  readonly credentials?: CredentialSource
  /** A directory on the daemon's machine with hosts.toml files. */
  readonly hostsDir?: string
  /** Registries that no file describes are spoken to without TLS. */
  readonly plainHttp?: boolean
  /** Sent to the registry. */
  readonly headers?: Readonly<Record<string, string>>
}

export interface PullOptions extends RegistryOptions {
  /** `os/arch`; that of this machine without it, all when it is empty. */
  readonly platforms?: readonly string[]
  /** Make the layers into snapshots, ready to run; yes without it. Of all platforms, only this machine's. */
  readonly unpack?: boolean
  /** Where to unpack to; the client's default without it. */
  readonly snapshotter?: string
  /** Of the image. */
  readonly labels?: Labels
  /** Leave out manifests and configs of platforms that are not wanted. Then the image cannot be pushed whole. */
  readonly skipMetadata?: boolean
}

export interface PushOptions extends RegistryOptions {
  /** The image that is pushed; the one that has the name of the reference without it. */
  readonly image?: string
  /** Only those; all that are there without it. */
  readonly platforms?: readonly string[]
}

export interface ExportOptions extends TransferOptions {
  /** `os/arch`; that of this machine without it. */
  readonly platforms?: readonly string[]
  /** Everything that is there. */
  readonly allPlatforms?: boolean
  /** Without `manifest.json`, which old versions of Docker read. */
  readonly skipDockerManifest?: boolean
  readonly skipNonDistributable?: boolean
}
