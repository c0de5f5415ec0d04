import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { everyContainerd } from '#testing/containerd.ts'
import { run, startDaemon, type DaemonOptions } from '#testing/daemon.ts'
import { eventually } from '#testing/eventually.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'
import { root } from '#testing/root.ts'

/*
 * What the metrics endpoint says of a running container, beside what containerd says of one.
 */

const image = 'docker.io/library/busybox:latest'

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address ? address.port : 0
}

/** The series of one container as `name{label names} type`, and the scrape they are from. */
async function seriesOf(ctr: string, options: DaemonOptions, config = '') {
  const port = await freePort()
  await using daemon = await startDaemon({
    ...options,
    config: `[metrics]\naddress = "127.0.0.1:${port}"\n${config}`,
  })
  const namespace = `metrics-${options.containerd ? 'theirs' : 'ours'}-${process.pid}`
  const client = async (...args: string[]): Promise<void> => {
    const { code, stderr } = await run(ctr, ['-a', daemon.address, '-n', namespace, ...args])
    assert.equal(code, 0, stderr)
  }
  const archive = join(daemon.dir, 'image.tar')
  await writeImage(busyboxImage(image), archive)
  await client('image', 'import', ...(ctr.includes('.peer') ? ['--local'] : []), archive)
  await client('run', '-d', image, 'measured', 'sleep', '1000')
  try {
    const scrape = async () => await (await fetch(`http://127.0.0.1:${port}/v1/metrics`)).text()
    const text = config
      ? await scrape()
      : await eventually(async () => {
          const got = await scrape()
          return got.includes('container_id="measured"') ? got : undefined
        })
    return { series: parse(text, namespace), text }
  } finally {
    await client('task', 'rm', '-f', 'measured')
    await client('container', 'rm', 'measured')
  }
}

function parse(text: string, namespace: string): ReadonlySet<string> {
  const types = new Map<string, string>()
  for (const [, name = '', type = ''] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    types.set(name, type)
  }
  const series = new Set<string>()
  for (const [, name = '', labels = ''] of text.matchAll(/^(container_\w+)\{(.*)\} \S+$/gm)) {
    assert.ok(labels.includes(`namespace="${namespace}"`), labels)
    const keys = [...labels.matchAll(/(\w+)="[^"]*"/g)].map(([, key = '']) => key)
    series.add(`${name}{${keys.toSorted().join()}} ${types.get(name)}`)
  }
  return series
}

/** containerd has the name, and no longer the way to count it. */
const onlyOurs = /^container_memory_oom_total\{/

void suite('metrics of tasks', () => {
  for (const containerd of everyContainerd()) {
    void test(`names, labels and types are those of containerd ${containerd.version}`, async (t) => {
      if (!root(t)) return
      const theirs = await seriesOf(containerd.ctr, { containerd })
      const ours = await seriesOf(containerd.ctr, {})
      assert.ok(theirs.series.size > 20, theirs.text)
      const expected = [...theirs.series].toSorted()
      const got = [...ours.series].filter((each) => !onlyOurs.test(each) || theirs.series.has(each))
      assert.deepEqual(got.toSorted(), expected)
      const [, usage] = /^container_memory_usage_usage_bytes\{.*\} (\S+)$/m.exec(ours.text) ?? []
      const [, current] = /^container_pids_current\{.*\} (\S+)$/m.exec(ours.text) ?? []
      assert.equal(Number(current), 1)
      if (usage !== undefined) assert.ok(Number(usage) > 0)
    })
  }

  void test('they can be switched off', async (t) => {
    if (!root(t)) return
    const [containerd] = everyContainerd()
    if (!containerd) return t.skip('needs ctr')
    const off = '[plugins."io.containerd.monitor.v1.cgroups"]\nno_prometheus = true'
    const { series, text } = await seriesOf(containerd.ctr, {}, off)
    assert.match(text, /^process_open_fds/m)
    assert.deepEqual([...series], [])
  })
})
