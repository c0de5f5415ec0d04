import { Leases } from '#gen/services/leases_pb.ts'
import { Version } from '#gen/services/version_pb.ts'
import { connectGrpc } from '#lib/grpc/client.ts'

/*
 * A process that writes: creates leases on one connection and tells its parent how many seconds
 * they took.
 *
 *     node writes-driver.ts <socket> <namespace> <in flight> <count>
 *
 * With BENCH_DRIVER=verbose it also says what share of a processor it took: well below 1, or it
 * is what was measured.
 */

const warmUpCalls = 300

const [address = '', namespace = '', flight = '1', count = '1'] = process.argv.slice(2)
await using connection = await connectGrpc(address, {
  metadata: { 'containerd-namespace': namespace },
})
const version = connection.client(Version)
for (let n = 0; n < warmUpCalls; n++) await version.version({})

const leases = connection.client(Leases)
const prefix = `bench-${process.pid}-${Date.now()}`
let next = 0
async function writer(): Promise<void> {
  while (next < Number(count)) await leases.create({ id: `${prefix}-${next++}` })
}

const cpu = process.cpuUsage()
const start = performance.now()
await Promise.all(Array.from({ length: Number(flight) }, writer))
const seconds = (performance.now() - start) / 1000
const used = process.cpuUsage(cpu)
if (process.env['BENCH_DRIVER'] === 'verbose') {
  const share = (used.user + used.system) / 1e6 / seconds
  process.stderr.write(
    `driver of ${address}: ${flight} in flight, ${share.toFixed(2)} processors\n`,
  )
}
process.send?.(seconds)
