import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { suite, test } from 'node:test'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'

import { encodeProfile } from './profile.ts'
import { startProfiler } from './profiler.ts'
import { fromCpuProfile, fromHeapProfile } from './v8.ts'

const frame = (functionName: string, lineNumber: number) => ({
  functionName,
  scriptId: '1',
  url: 'file:///src/x.ts',
  lineNumber,
  columnNumber: 0,
})

test('time goes to the stack that was seen, and none to waiting', () => {
  const profile = fromCpuProfile(
    {
      nodes: [
        { id: 1, callFrame: frame('(root)', -1), children: [2, 4] },
        { id: 2, callFrame: frame('outer', 0), children: [3] },
        { id: 3, callFrame: frame('', 9) },
        { id: 4, callFrame: frame('(idle)', -1) },
      ],
      startTime: 1000,
      endTime: 1100,
      samples: [3, 4, 3, 2],
      timeDeltas: [10, 20, 30, -1],
    },
    5,
  )
  const outer = { name: 'outer', file: '/src/x.ts', startLine: 1 }
  const inner = { name: '(anonymous)', file: '/src/x.ts', startLine: 10 }
  assert.deepEqual(profile.samples, [
    { frames: [inner, outer], values: [2, 20_000] },
    { frames: [outer], values: [1, 41_000] },
  ])
  assert.equal(profile.durationMs, 0.1)
})

test('bytes go to the stack that allocated them', () => {
  const node = (functionName: string, selfSize: number, children: never[] = []) => ({
    callFrame: frame(functionName, 0),
    selfSize,
    id: 1,
    children,
  })
  const head = { ...node('(root)', 0), children: [{ ...node('a', 7), children: [node('b', 3)] }] }
  const profile = fromHeapProfile({ head }, 0, 512)
  assert.deepEqual(
    profile.samples.map(({ frames, values }) => [frames.map(({ name }) => name), values]),
    [
      [['a'], [7]],
      [['b', 'a'], [3]],
    ],
  )
})

test('an empty profile has the empty string first in its table', () => {
  const bytes = encodeProfile({
    sampleTypes: [],
    samples: [],
    timeMs: 0,
    durationMs: 0,
    periodType: { type: '', unit: '' },
    period: 0,
  })
  assert.ok(Buffer.from(bytes).includes(Buffer.from([0x32, 0x00])))
})

const skip = hasGo() ? false : 'go is not installed'

function hasGo(): boolean {
  try {
    execFileSync('go', ['version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** Something to find in a profile. */
function burnTheCandle(until: number): string[] {
  const kept: string[] = []
  while (performance.now() < until) kept.push(`${performance.now()} and some more text`.repeat(50))
  return kept
}

async function top(profile: Buffer): Promise<string> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'pprof-'))
  const file = join(dir.path, 'profile')
  await writeFile(file, profile)
  const { stdout } = await promisify(execFile)('go', ['tool', 'pprof', '-top', file])
  return stdout
}

suite('go tool pprof', { skip }, () => {
  test('reads the CPU and the heap of this thread', { timeout: 120_000 }, async (t) => {
    await using profiler = await startProfiler()
    const taking = profiler.cpu(1, t.signal)
    await assert.rejects(profiler.cpu(1, t.signal), { code: 'failed_precondition' })
    await setImmediate()
    const kept = burnTheCandle(performance.now() + 800)
    const cpu = await taking
    assert.match(await top(cpu), /Type: cpu[^]*burnTheCandle/)
    const heap = await profiler.heap(true)
    assert.equal(gunzipSync(heap).length > 0, true)
    assert.match(await top(heap), /Type: inuse_space[^]*burnTheCandle/)
    assert.ok(kept.length > 0)
  })

  test('a profile whose client has left is given up, and another can be taken', async () => {
    await using profiler = await startProfiler()
    const gone = new AbortController()
    const taking = profiler.cpu(60, gone.signal)
    gone.abort()
    await assert.rejects(taking, { name: 'AbortError' })
    assert.ok((await profiler.cpu(0.01, new AbortController().signal)).length > 0)
  })
})
