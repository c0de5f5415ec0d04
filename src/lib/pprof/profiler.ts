import { Session } from 'node:inspector/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'

import { failedPrecondition } from '#lib/errors/errors.ts'

import { encodeProfile, type Profile } from './profile.ts'
import { fromCpuProfile, fromHeapProfile } from './v8.ts'

/** Between two samples: in µs, as Go has it (100 Hz); and bytes, likewise. */
const cpuIntervalUs = 10_000
const heapIntervalBytes = 512 * 1024

/** Takes profiles of this thread. What it gives is gzipped, ready for `go tool pprof`. */
export interface ThreadProfiler extends AsyncDisposable {
  /**
   * Samples for `seconds`.
   *
   * @throws `failed_precondition` while another CPU profile is being taken; the abort reason.
   */
  cpu(seconds: number, signal: AbortSignal): Promise<Buffer>
  /** What has been allocated since the profiler began, and is still alive. */
  heap(collectGarbage: boolean): Promise<Buffer>
}

/** Begins to sample the heap, which costs little, and waits to be asked for the CPU. */
export async function startProfiler(): Promise<ThreadProfiler> {
  const session = new Session()
  session.connect()
  await session.post('HeapProfiler.enable')
  await session.post('HeapProfiler.startSampling', { samplingInterval: heapIntervalBytes })
  await session.post('Profiler.enable')
  await session.post('Profiler.setSamplingInterval', { interval: cpuIntervalUs })
  return new InspectorProfiler(session)
}

class InspectorProfiler implements ThreadProfiler {
  readonly #session: Session
  #busy = false

  constructor(session: Session) {
    this.#session = session
  }

  async cpu(seconds: number, signal: AbortSignal): Promise<Buffer> {
    if (this.#busy) throw failedPrecondition('a CPU profile is being taken already')
    this.#busy = true
    const beganMs = Date.now()
    try {
      await this.#session.post('Profiler.start')
      await sleep(seconds * 1000, undefined, { signal })
      const { profile } = await this.#session.post('Profiler.stop')
      return await packed(fromCpuProfile(profile, beganMs))
    } catch (err) {
      await this.#session.post('Profiler.stop').catch(() => {}) // it may not have begun
      throw err
    } finally {
      this.#busy = false
    }
  }

  async heap(collectGarbage: boolean): Promise<Buffer> {
    if (collectGarbage) await this.#session.post('HeapProfiler.collectGarbage')
    const { profile } = await this.#session.post('HeapProfiler.getSamplingProfile')
    return await packed(fromHeapProfile(profile, Date.now(), heapIntervalBytes))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.resolve(this.#session.disconnect())
  }
}

const compress = async (bytes: Uint8Array): Promise<Buffer> => await promisify(gzip)(bytes)

const packed = async (profile: Profile): Promise<Buffer> => await compress(encodeProfile(profile))
