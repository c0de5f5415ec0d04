import type { Containerd } from '#testing/containerd.ts'
import type { DaemonOptions, TestDaemon } from '#testing/daemon.ts'

/** One of the daemons that are compared: wharfd, or a containerd. */
export interface Contender {
  /** `wharfd`, or the version of the containerd; heads its column. */
  readonly label: string
  /** What is started; wharfd without it. */
  readonly containerd?: Containerd
}

/** One line of the table. */
export interface Figure {
  readonly name: string
  readonly unit: string
  readonly better: 'lower' | 'higher'
  /** Which quantile of all samples of all rounds is shown; 0.5, the median, unless given. */
  readonly quantile?: number
  /** The figure the other daemons are compared by, where only wharfd has this one. */
  readonly against?: string
}

/** What one round measured, by the names of the figures: a sample, or all of them. */
export type Samples = Readonly<Record<string, number | readonly number[]>>

/** What is measured together, and how. */
export interface Row {
  /** What `--only` calls it. */
  readonly name: string
  /** Whether it works with an image as large as real ones. */
  readonly bigImage?: true
  /** Whether it works with an image of 2 GB. */
  readonly hugeImage?: true
  /** Whether it works with images in a registry. */
  readonly registry?: true
  readonly figures: readonly Figure[]
  /** Brings a daemon that has just started to where it can be measured round by round. */
  setup(subject: Subject): Promise<Prepared>
}

/** A daemon that is ready to be measured; disposal undoes what the setup of the row did. */
export interface Prepared extends AsyncDisposable {
  measure(): Promise<Samples>
  /** What could not be prepared and will not be measured. */
  readonly remark?: string
}

/** A running daemon and what rows use to measure it. */
export interface Subject {
  readonly contender: Contender
  readonly daemon: TestDaemon
  /** The `wharfd.mjs` of our daemons, for rows that start more of them. */
  readonly program: string
  /** The containerd namespace the row works in; no other daemon uses it. */
  readonly namespace: string
  /** The name of a small image that is there. */
  readonly image: string
  /** Smaller loads: to see that everything runs, not to compare. */
  readonly quick: boolean
  /** Whether wharfd is measured with crun too. */
  readonly crun: boolean
  /** The archive of an image as large as real ones, where a row imports it. */
  readonly bigImage?: BigImage
  /** The archive of an image of 2 GB, where a row unpacks it. */
  readonly hugeImage?: BigImage
  /**
   * Runs `ctr`, the same for all daemons. @returns what it wrote to stdout.
   * @throws an Error with what it said, unless it ends with 0.
   */
  readonly ctr: (...args: readonly string[]) => Promise<string>
  /** As `ctr`, with the one that came with this containerd, the newest for wharfd: what its users have. */
  readonly ownCtr: (...args: readonly string[]) => Promise<string>
  /** Starts one more daemon of the same kind, with the small image. */
  readonly another: (options: DaemonOptions) => Promise<Subject & AsyncDisposable>
  /** Images in a registry, where a row pulls or pushes them. */
  readonly registry?: RegistryImages
}

/** A registry on this machine, and images that are in it and in archives. */
export interface RegistryImages {
  /** `127.0.0.1:<port>`, plain HTTP. */
  readonly host: string
  /** One layer of large files, 200 MB. */
  readonly layer: RegistryImage
  /** 50 small layers. */
  readonly layers: RegistryImage
  /** One layer of many small files. */
  readonly files: RegistryImage
}

export interface RegistryImage {
  /** What it is pulled as. */
  readonly reference: string
  /** What the archive calls it. */
  readonly name: string
  readonly file: string
}

/** An archive with one image of one layer. */
export interface BigImage {
  readonly name: string
  readonly file: string
  /** Compressed and unpacked sizes of the layer, bytes. */
  readonly gzipBytes: number
  readonly tarBytes: number
  readonly files: number
}

/** For rows that have nothing to undo. */
export const nothing = (): Promise<void> => Promise.resolve()
