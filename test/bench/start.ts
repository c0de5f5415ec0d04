import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { Version } from '#gen/services/version_pb.ts'
import { hasCode } from '#lib/errors/errors.ts'
import { connectGrpc } from '#lib/grpc/client.ts'

import { nothing, type Prepared, type Row, type Subject } from './row.ts'

const name = 'start to first answer'
const floor = 'start to first answer, a bare HTTP/2 server of Node'
const pauseMs = 2
const deadlineMs = 30_000

/** Answers any call with an empty message, and loads nothing but what Node has for that. */
const bareServer = `
const server = require('node:http2').createServer()
server.on('stream', (stream) => {
  const headers = { ':status': 200, 'content-type': 'application/grpc' }
  stream.respond(headers, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
  stream.end(Buffer.alloc(5))
})
server.listen(process.argv[1])
`

/**
 * From the start of the process, on a root that is in use, to the first answer over gRPC; and the same for
 * the least that this Node can do, below which no daemon in it comes.
 */
export const start: Row = {
  name: 'start',
  figures: [
    { name, unit: 'ms', better: 'lower' },
    { name: floor, unit: 'ms', better: 'lower', against: name },
  ],
  setup: ({ daemon, contender }: Subject): Promise<Prepared> =>
    Promise.resolve({
      measure: async () => {
        await daemon.stop()
        const before = performance.now()
        const booted = daemon.start()
        const answered = firstAnswer(daemon.address).then(() => performance.now() - before)
        const [ms] = await Promise.all([answered, booted])
        if (contender.containerd) return { [name]: ms }
        return { [name]: ms, [floor]: await startBare(join(daemon.dir, 'bare.sock')) }
      },
      [Symbol.asyncDispose]: nothing,
    }),
}

/** @returns ms from the start of a bare server to its first answer. */
async function startBare(address: string): Promise<number> {
  const before = performance.now()
  const server = spawn(process.execPath, ['-e', bareServer, address], { stdio: 'ignore' })
  try {
    await firstAnswer(address)
    return performance.now() - before
  } finally {
    server.kill('SIGKILL')
    await once(server, 'exit')
    await rm(address, { force: true })
  }
}

/** Resolves when a daemon answers at `address`. */
export async function firstAnswer(address: string): Promise<void> {
  const signal = AbortSignal.timeout(deadlineMs)
  while (!(await answers(address, signal))) await sleep(pauseMs, undefined, { signal })
}

async function answers(address: string, signal: AbortSignal): Promise<boolean> {
  try {
    await using connection = await connectGrpc(address, { signal })
    await connection.client(Version).version({}, { signal })
    return true
  } catch (err) {
    if (!hasCode(err, 'unavailable')) throw err
    return false
  }
}
