import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { Leases } from '#gen/services/leases_pb.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import { type Containerd, everyContainerd } from '#testing/containerd.ts'
import { run, startDaemon } from '#testing/daemon.ts'
import { root } from '#testing/root.ts'
import { type Cycle, soak, soakMs } from '#testing/soak.ts'

const namespace = 'kill'
const clients = 4
const found = everyContainerd()

if (found.length === 0)
  test('Go finds what we acknowledged', { skip: 'containerd is not installed' }, () => {})

for (const containerd of found) {
  const { version } = containerd
  test(`containerd ${version} finds what wharfd had acknowledged when it was killed`, {
    timeout: soakMs(120_000),
  }, async (t) => {
    if (!root(t)) return
    await using dir = await mkdtempDisposable(join(tmpdir(), 'kill-go-'))
    await soak(
      `kill-go-${version}`,
      3,
      async (cycle) => await handOver(dir.path, containerd, cycle),
    )
  })
}

/** Kills wharfd at any moment, and has containerd open what it left. */
async function handOver(dir: string, containerd: Containerd, cycle: Cycle): Promise<void> {
  const killAt = 1 + cycle.below(200)
  const acked = await workAndKill(dir, cycle, killAt)
  assert.ok(acked.length >= killAt, `${acked.length} of ${killAt} acknowledged`)
  const daemon = await startDaemon({ dir, containerd })
  try {
    const args = ['-a', daemon.address, '-n', namespace, 'leases', 'ls', '-q']
    const { code, stdout, stderr } = await run(containerd.ctr, args)
    assert.equal(code, 0, stderr)
    const listed = new Set(stdout.split('\n'))
    assert.deepEqual(
      acked.filter((id) => !listed.has(id)),
      [],
    )
  } finally {
    await daemon.stop()
  }
  cycle.count('killed')
  cycle.count('acknowledged', acked.length)
}

/** @returns the leases that were acknowledged. */
async function workAndKill(dir: string, { seed }: Cycle, killAt: number): Promise<string[]> {
  const daemon = await startDaemon({ dir })
  const acked: string[] = []
  try {
    await using connection = await connectGrpc(daemon.address, {
      metadata: { 'containerd-namespace': namespace },
    })
    const leases = connection.client(Leases)
    const work = async (client: number): Promise<void> => {
      for (let n = 0; acked.length < killAt; n++) {
        const id = `lease-${seed}-${client}-${n}`
        await leases.create({ id })
        acked.push(id)
      }
      daemon.process.kill('SIGKILL')
    }
    await Promise.allSettled(Array.from({ length: clients }, async (_, n) => await work(n)))
  } finally {
    await daemon.stop('SIGKILL')
  }
  return acked
}
