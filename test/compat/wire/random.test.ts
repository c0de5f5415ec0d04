import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { connectGrpc } from '#lib/grpc/client.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { containerd2 } from '#testing/containerd.ts'
import { type DaemonOptions, startDaemon } from '#testing/daemon.ts'
import { type Cycle, soak, soakMs } from '#testing/soak.ts'

import { answerOf } from './answers.ts'
import { type EventsOf, type HeardEvent, eventsOf } from './heard.ts'
import { chooseCall } from './random/calls.ts'

/*
 * Calls by chance, to containerd and to wharfd: answers and events are compared. Both collect garbage
 * only when a call waits for it, so that what is there depends on the calls alone.
 */

const peer = containerd2()
const skip = process.getuid?.() === 0 ? !peer && 'needs containerd 2' : 'needs root'
const callsOfCycle = 150

const quiet = `[plugins."io.containerd.gc.v1.scheduler"]
pause_threshold = 0.00001
deletion_threshold = 1000000
mutation_threshold = 0
schedule_delay = "0ms"
startup_delay = "100ms"
`

suite('calls by chance', { skip }, () => {
  void test('are answered as by containerd, with the same events', {
    timeout: soakMs(120_000),
  }, async () => {
    await using scope = new AsyncDisposableStack()
    const theirs = await open(scope, { config: quiet, ...(peer && { containerd: peer }) })
    const ours = await open(scope, { config: quiet })
    await soak('calls by chance', 8, async (cycle) => await oneCycle(cycle, theirs, ours))
  })
})

interface Side {
  readonly connection: Connection
  readonly events: EventsOf
}

async function open(scope: AsyncDisposableStack, options: DaemonOptions): Promise<Side> {
  const daemon = scope.use(await startDaemon(options))
  const connection = scope.use(await connectGrpc(daemon.address))
  return { connection, events: scope.use(await eventsOf(connection)) }
}

/** A history in namespaces of its own. */
async function oneCycle(cycle: Cycle, theirs: Side, ours: Side): Promise<void> {
  const chooser = chooseCall(cycle.seed, `w${cycle.number}`)
  const history: string[] = []
  for (let n = 0; n < callsOfCycle; n++) {
    const { title, make } = chooser()
    const expected = await answerOf(() => make(theirs.connection))
    const actual = await answerOf(() => make(ours.connection))
    history.push(`${title}\n  ${JSON.stringify(expected)}`)
    cycle.count('calls')
    if (isFailure(expected)) cycle.count(expected.code)
    assert.deepEqual(
      known(actual, expected),
      known(expected, expected),
      history.slice(-40).join('\n'),
    )
  }
  const [actual, expected] = [await ours.events.sofar(), await theirs.events.sofar()]
  assert.deepEqual(inOrder(actual), inOrder(expected), history.join('\n'))
}

interface Failure {
  readonly code: string
  readonly message: string
}

const isFailure = (answer: unknown): answer is Failure =>
  typeof answer === 'object' && answer !== null && 'code' in answer && 'message' in answer

/**
 * An answer without what may differ: directories of the daemons; code and words where containerd knows
 * no code; what wharfd says more than containerd.
 */
function known(answer: unknown, expected: unknown): unknown {
  if (!isFailure(answer) || !isFailure(expected)) return withoutDirectories(answer)
  if (expected.code === 'unknown') return 'a failure'
  const message = answer.message
    .replace(/snapshot (.* )?does not exist/, 'snapshot does not exist')
    .replace(/failed to commit snapshot [^:]*:/, 'failed to commit snapshot:')
    .replace(/^snapshot name is required for update: /, '')
    .replace(/^unable to lease content: /, '')
  return { code: answer.code, message }
}

/** Mounts name the directory of the daemon, and numbers of snapshots. */
const withoutDirectories = (answer: unknown): unknown =>
  JSON.parse(
    JSON.stringify(answer)
      .replace(/wharfd-\w+/g, 'dir')
      .replace(/snapshots\/\d+/g, 'snapshots/N'),
  )

/** A collection takes snapshots in any order, also after what comes next. */
function inOrder(events: readonly HeardEvent[]): readonly unknown[] {
  const isRemoval = ({ topic }: HeardEvent): boolean => topic === '/snapshot/remove'
  const removals = events.filter(isRemoval).map((event) => JSON.stringify(event))
  return [...events.filter((event) => !isRemoval(event)), removals.toSorted()]
}
