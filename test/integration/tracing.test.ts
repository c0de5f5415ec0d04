import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'

import { Version } from '#gen/services/version_pb.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import { type CollectedSpan, type Collector, startCollector } from '#testing/collector.ts'
import { containerd1 } from '#testing/containerd.ts'
import { run, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'

/*
 * What a collector gets to see of one `ctr run`.
 */

const image = 'docker.io/library/busybox:latest'
const ctr = containerd1()?.ctr ?? ''
const skip = process.getuid?.() !== 0 ? 'needs root' : ctr === '' && 'needs ctr'
const tasks = 'containerd.services.tasks.v1.Tasks'

suite('tracing', { skip, timeout: 120_000 }, () => {
  let collector: Collector
  let daemon: TestDaemon
  const scope = new AsyncDisposableStack()

  before(async () => {
    collector = scope.use(await startCollector())
    daemon = scope.use(
      await startDaemon({
        config: '[debug]\nlevel = "debug"\nlog_trace_id = true',
        env: {
          OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
          OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
          OTEL_BSP_SCHEDULE_DELAY: '50',
        },
      }),
    )
    await writeImage(busyboxImage(image), join(daemon.dir, 'image.tar'))
    await call('image', 'import', join(daemon.dir, 'image.tar'))
    await call('run', '--rm', image, 'traced', 'true')
  })
  after(async () => await scope.disposeAsync())

  const call = async (...args: readonly string[]): Promise<string> => {
    const ran = await run(ctr, ['-a', daemon.address, ...args])
    assert.equal(ran.code, 0, `ctr ${args.join(' ')}: ${ran.stderr}`)
    return ran.stdout
  }
  const named = async (name: string, service = 'wharfd'): Promise<CollectedSpan> =>
    await collector.find((span) => span.name === name && span.service === service)
  const childrenOf = (parent: CollectedSpan): readonly CollectedSpan[] =>
    collector.spans.filter(({ parentSpanId }) => parentSpanId === parent.spanId)

  test('what a call logs carries the id of its trace, where the log is told to', async () => {
    const { traceId } = await named('containerd.services.diff.v1.Diff/Apply')
    const line = (await daemon.log()).split('\n').find((each) => each.includes('diff applied'))
    assert.match(line ?? 'none', new RegExp(` trace_id=${traceId}( |$)`))
  })

  test('the creation of a task is one trace, from the daemon into the shim host', async () => {
    const create = await named(`${tasks}/Create`)
    assert.equal(create.kind, 2)
    assert.equal(create.parentSpanId, undefined)
    const within = await named('shim create')
    assert.equal(within.parentSpanId, create.spanId)

    const inShim = await named('containerd.task.v3.Task/Create', 'containerd-shim-wharf-v1')
    assert.equal(inShim.parentSpanId, within.spanId)
    assert.equal(inShim.traceId, create.traceId)
    const stages = childrenOf(inShim).map(({ name }) => name)
    assert.deepEqual(stages.toSorted(), ['mount', 'runc create'])
  })

  test('its stages make up the time it takes', async () => {
    const create = await named(`${tasks}/Create`)
    await named('shim create')
    const stages = childrenOf(create)
    assert.deepEqual(
      stages.map(({ name }) => name),
      ['bundle', 'shim start', 'shim create'],
    )
    const covered = stages.reduce((sum, stage) => sum + lengthOf(stage), 0)
    assert.ok(covered >= 0.95 * lengthOf(create), `${covered} of ${lengthOf(create)} ns`)
  })

  test('unpacking has the stages of the worker, and commits that of the backend', async () => {
    const unpack = await named('unpack')
    const stages = childrenOf(unpack).map(({ name }) => name)
    assert.deepEqual(stages, ['inflate and extract', 'syncfs'])
    const commit = await named('containerd.services.snapshots.v1.Snapshots/Commit')
    assert.ok(childrenOf(commit).some(({ name }) => name === 'backend commit'))
  })

  test('every plugin start is a span, and so are the parts of a collection', async () => {
    const boot = await named('start plugins')
    const content = await named('start io.containerd.content.v1.content')
    assert.equal(content.parentSpanId, boot.spanId)
    const collection = await named('garbage collection')
    assert.equal(collection.parentSpanId, undefined)
    const parts = childrenOf(collection).map(({ name }) => name)
    assert.deepEqual(parts, ['mark', 'sweep', 'collect backends'])
  })

  test("a call is part of its caller's trace", async () => {
    const [traceId, spanId] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331']
    await using connection = await connectGrpc(daemon.address, {})
    const metadata = { traceparent: `00-${traceId}-${spanId}-01` }
    await connection.client(Version).version({}, { metadata })
    const span = await collector.find((each) => each.traceId === traceId)
    assert.equal(span.parentSpanId, spanId)
    assert.equal(span.name, 'containerd.services.version.v1.Version/Version')
    // One that the caller does not record is not recorded here either.
    const other = traceId.replace('0af', 'fa0')
    await connection.client(Version).version(
      {},
      {
        metadata: { traceparent: `00-${other}-${spanId}-00` },
      },
    )
    await call('version')
    await daemon.stop()
    assert.ok(!collector.spans.some((each) => each.traceId === other))
    await daemon.start()
  })

  test('the plugins say that it is done', async () => {
    const plugins = await call('plugins', 'ls')
    assert.match(plugins, /io\.containerd\.tracing\.processor\.v1\s+otlp\s+\S+\s+ok/)
    assert.match(plugins, /io\.containerd\.internal\.v1\s+tracing\s+\S+\s+ok/)
  })
})

const lengthOf = ({ startTimeUnixNano, endTimeUnixNano }: CollectedSpan): number =>
  Number(BigInt(endTimeUnixNano) - BigInt(startTimeUnixNano))
