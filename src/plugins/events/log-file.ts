import { writeSync } from 'node:fs'
import { type FileHandle, mkdir, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { failedPrecondition } from '#lib/errors/errors.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'
import { tryLock } from '#sys/flock.ts'

import { Generation } from './generation.ts'
import { type Life, type Scanned, lifeRecord, magic, newLifeId, scan } from './log-format.ts'

/** How long another daemon may take to let go of the log, and how often that is looked at, in ms. */
const [lockMs, lockPollMs] = [1000, 50]

/** Up to this many bytes a write is a copy into the page cache: the trip through the thread pool costs more. */
const inlineBytes = 64 * 1024

const [directoryMode, fileMode] = [0o711, 0o600]

/** What earlier daemons have left. */
export interface Kept {
  /** At most two; the last one, in which this daemon goes on, ends where its event 0 begins. */
  readonly generations: readonly Generation[]
  /** In order; the last one is that of this daemon. */
  readonly lives: readonly Life[]
}

/** The files of the log, as #log-format draws them, held by one daemon. */
export class EventLogFile implements AsyncDisposable {
  readonly kept: Kept
  /** Of this daemon; its `first` is the number of event 0. */
  readonly life: Life
  readonly #dir: string
  readonly #lock: FileHandle
  #file: FileHandle | undefined

  private constructor(dir: string, lock: FileHandle, kept: Kept, life: Life) {
    this.#dir = dir
    this.#lock = lock
    this.kept = kept
    this.life = life
  }

  /**
   * Reads what is kept in `dir`, cuts off what is torn, and goes on behind it.
   * @throws `failed_precondition` when another process holds it; what the file system says.
   */
  static async open(dir: string, signal: AbortSignal): Promise<EventLogFile> {
    await mkdir(dir, { recursive: true, mode: directoryMode })
    await using scope = new AsyncDisposableStack()
    const lock = scope.use(await open(dir, 'r'))
    await hold(lock, dir, signal)
    const current = await scanned(join(dir, 'events.log'))
    const previous = await scanned(join(dir, 'events.log.1'))
    const { kept, life } = together(previous, current)
    const log = new EventLogFile(dir, lock, kept, life)
    if (current) await log.#goOn(current.length)
    else await log.rotate(life.first)
    scope.move()
    return log
  }

  /** Appends records. */
  async append(records: Uint8Array): Promise<void> {
    if (!this.#file) throw failedPrecondition(`event log ${this.#dir} has no open file`)
    const { fd } = this.#file
    if (records.length > inlineBytes) await this.#file.appendFile(records)
    else for (let done = 0; done < records.length; ) done += writeSync(fd, records, done)
  }

  /** Makes the file the previous one, and begins a new one with the event `number`. */
  async rotate(number: number): Promise<void> {
    await this.#close()
    const path = join(this.#dir, 'events.log')
    await using scope = new AsyncDisposableStack()
    const file = scope.use(await open(`${path}.new`, 'w', fileMode))
    await file.appendFile(Buffer.concat([magic, lifeRecord({ ...this.life, first: number })]))
    // Only now: on a full disk the previous file stays what it is.
    await renameIfThere(path, `${path}.1`)
    await rename(`${path}.new`, path)
    scope.move()
    this.#file = file
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close()
    await this.#lock.close()
  }

  async #goOn(length: number): Promise<void> {
    await using scope = new AsyncDisposableStack()
    const file = scope.use(await open(join(this.#dir, 'events.log'), 'a', fileMode))
    await file.truncate(length)
    await file.appendFile(lifeRecord(this.life))
    scope.move()
    this.#file = file
  }

  async #close(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    await file?.close()
  }
}

async function renameIfThere(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
  } catch (err) {
    if (!hasErrno(err, 'ENOENT')) throw err
  }
}

async function hold(lock: FileHandle, dir: string, signal: AbortSignal): Promise<void> {
  for (let waited = 0; !tryLock(lock.fd, true); waited += lockPollMs) {
    if (waited >= lockMs) throw failedPrecondition(`event log ${dir}: another process holds it`)
    await sleep(lockPollMs, undefined, { signal })
  }
}

/** What a file holds; nothing when there is none, or it is none of ours. */
async function scanned(path: string): Promise<Scanned | undefined> {
  try {
    return scan(await readFile(path))
  } catch (err) {
    if (!hasErrno(err, 'ENOENT')) throw err
    return undefined
  }
}

/** Both files as one; the older is of no use when the newer does not begin where it ends. */
function together(
  previous: Scanned | undefined,
  current: Scanned | undefined,
): { readonly kept: Kept; readonly life: Life } {
  const meets = previous && (!current || endOf(previous) === current.first)
  const files = [meets ? previous : undefined, current].filter((file) => file !== undefined)
  const last = files.at(-1)
  const next = last ? endOf(last) : 1
  const lives = files.flatMap((file) => file.lives)
  const life = { id: newLifeId(lives.at(-1)?.id), first: next }
  const generations = files.map((file) => generationOf(file, next))
  if (!current) generations.push(new Generation(0))
  return { kept: { generations, lives: [...lives, life] }, life }
}

const endOf = ({ first, events }: Scanned): number => first + events.length

function generationOf({ first, events }: Scanned, next: number): Generation {
  const generation = new Generation(first - next)
  for (const record of events) generation.push(record)
  return generation
}
