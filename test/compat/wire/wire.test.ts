import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'

import { connectGrpc } from '#lib/grpc/client.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { containerd2 } from '#testing/containerd.ts'
import { startDaemon } from '#testing/daemon.ts'

import { answerOf } from './answers.ts'
import { contentSteps, snapshotSteps } from './data.ts'
import { containerSteps, imageSteps, leaseSteps, namespaceSteps, sandboxSteps } from './records.ts'
import { otherSteps, taskSteps } from './running.ts'
import type { Step, Steps } from './steps.ts'

/*
 * The same calls to containerd and to wharfd, compared answer by answer: codes, messages, fields.
 * Services come in an order, since containers leave something for tasks.
 */

const services: Readonly<Record<string, Steps>> = {
  namespaces: namespaceSteps,
  containers: containerSteps,
  images: imageSteps,
  content: contentSteps,
  snapshots: snapshotSteps,
  leases: leaseSteps,
  sandboxes: sandboxSteps,
  tasks: taskSteps,
  others: otherSteps,
}

// containerd 1.6 answers some of this with other codes.
const peer = containerd2()
const skip = process.getuid?.() === 0 ? !peer && 'needs containerd 2' : 'needs root'

suite('the wire', { skip }, () => {
  const scope = new AsyncDisposableStack()
  let theirs: Connection
  let ours: Connection

  before(async () => {
    if (!peer) return
    theirs = await open(scope, await startDaemon({ containerd: peer }))
    ours = await open(scope, await startDaemon())
  })
  after(async () => await scope.disposeAsync())

  for (const [service, steps] of Object.entries(services)) {
    void test(`${service} answer as containerd's do`, { timeout: 60_000 }, async () => {
      const expected = await answersOf(steps(theirs))
      const actual = await answersOf(steps(ours))
      for (const [title, answer] of expected) assert.deepEqual(actual.get(title), answer, title)
    })
  }
})

async function open(
  scope: AsyncDisposableStack,
  daemon: Awaited<ReturnType<typeof startDaemon>>,
): Promise<Connection> {
  scope.use(daemon)
  return scope.use(await connectGrpc(daemon.address))
}

async function answersOf(steps: readonly Step[]): Promise<Map<string, unknown>> {
  const answers = new Map<string, unknown>()
  for (const [title, call] of steps) {
    assert.ok(!answers.has(title), `two steps are called ${title}`)
    answers.set(title, await answerOf(call))
  }
  return answers
}
