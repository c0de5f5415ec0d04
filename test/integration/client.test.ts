import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, suite, type TestContext, test } from 'node:test'

import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import { containerd1 } from '#testing/containerd.ts'
import { type TestDaemon, startDaemon } from '#testing/daemon.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'
import { rejectsWith } from '#testing/rejects.ts'

/*
 * The client against every daemon there is: what it does with the real one, it must do with ours.
 */

const image = 'docker.io/library/busybox:latest'
const peer = containerd1()
const daemons = { wharfd: undefined, ...(peer && { containerd: peer }) }

for (const [name, containerd] of Object.entries(daemons)) {
  suite(`the client of ${name}`, { skip: process.getuid?.() !== 0 && 'needs root' }, () => {
    let daemon: TestDaemon
    let client: Client

    before(async () => {
      daemon = await startDaemon(containerd ? { containerd } : {})
      client = await connect(daemon.address, { namespace: 'client', fifoDir: daemon.dir })
      await writeImage(busyboxImage(image), join(daemon.dir, 'oci.tar'))
      const docker = { ...busyboxImage('docker-archive:1'), format: 'docker' as const }
      await writeImage(docker, join(daemon.dir, 'docker.tar'))
      await client.images.import(join(daemon.dir, 'oci.tar'))
    })
    after(async () => {
      await client?.[Symbol.asyncDispose]()
      await daemon?.[Symbol.asyncDispose]()
    })

    const check = (title: string, body: (t: TestContext) => Promise<void>): void => {
      void test(title, { timeout: 60_000 }, body)
    }

    check('a daemon says who it is', async () => {
      const { pid, uuid } = await client.server()
      // containerd 1.6 does not tell.
      if (containerd?.major !== 1) assert.equal(pid, daemon.process.pid)
      assert.match(uuid, /^[0-9a-f-]{36}$/)
      assert.equal((await client.server()).uuid, uuid)
    })

    check('an imported image is there, unpacked and named', async () => {
      const found = await client.images.get(image)
      const chainId = await found.chainId()
      assert.equal((await client.snapshots().stat(chainId)).kind, 'committed')
      const { cmd } = await found.config()
      assert.deepEqual(cmd, ['sh'])
      await rejectsWith('not_found', client.images.get('no-such-image'))
    })

    check('a docker archive becomes an image with a complete name', async () => {
      const images = await client.images.import(join(daemon.dir, 'docker.tar'))
      assert.deepEqual(
        images.map((made) => made.name),
        ['docker.io/library/docker-archive:1'],
      )
      await client.images.delete('docker.io/library/docker-archive:1', { synchronous: true })
    })

    check('a container runs and its output comes back', async () => {
      await using container = await client.containers.create('hello', {
        image,
        args: ['sh', '-c', 'echo out; echo err >&2; exit 3'],
      })
      const said = { out: '', err: '' }
      const exit = await container.run({
        stdout: (chunk) => void (said.out += Buffer.from(chunk).toString()),
        stderr: (chunk) => void (said.err += Buffer.from(chunk).toString()),
      })
      assert.equal(exit.status, 3)
      assert.deepEqual(said, { out: 'out\n', err: 'err\n' })
    })

    check('what a container reads is what was given', async () => {
      await using container = await client.containers.create('cat', { image, args: ['cat'] })
      const input = 'line\n'.repeat(50_000)
      let output = ''
      const exit = await container.run({
        stdin: input,
        stdout: (chunk) => void (output += Buffer.from(chunk).toString()),
      })
      assert.equal(exit.status, 0)
      assert.equal(output, input)
    })

    check('a process can be added, and ends with what it ended with', async () => {
      await using container = await client.containers.create('exec', {
        image,
        args: ['sleep', '1000'],
        env: { COLOUR: 'green' },
      })
      await using task = await container.start()
      let output = ''
      const exit = await task.exec({
        args: ['sh', '-c', 'echo $COLOUR; exit 7'],
        stdout: (chunk) => void (output += Buffer.from(chunk).toString()),
      })
      assert.equal(exit.status, 7)
      assert.equal(output, 'green\n')
      assert.equal((await task.state()).status, 'running')
      assert.ok((await task.pids()).includes(task.pid))
      await task.kill('SIGKILL')
      assert.equal((await task.wait()).status, 137)
    })

    check('an added process can be talked to and killed', async () => {
      await using container = await client.containers.create('talk', {
        image,
        args: ['sleep', '1000'],
      })
      await using task = await container.start()
      {
        await using cat = await task.startExec({ id: 'cat', args: ['sleep', '1000'] })
        assert.equal((await task.state({ execId: 'cat' })).pid, cat.pid)
        await cat.kill('SIGKILL')
        assert.equal((await cat.wait()).status, 137)
      }
      await rejectsWith('not_found', task.state({ execId: 'cat' }))
      await using _forgotten = await task.startExec({ args: ['sleep', '1000'] })
    })

    check('a task that was looked up outlives its handle', async () => {
      await using container = await client.containers.create('again', {
        image,
        args: ['sleep', '1000'],
      })
      await using task = await container.start()
      {
        await using other = await (await client.containers.get('again')).task()
        assert.equal(other.pid, task.pid)
      }
      assert.equal((await task.state()).status, 'running')
    })

    check('disposing removes the container, its task and its snapshot', async () => {
      {
        await using container = await client.containers.create('gone', {
          image,
          args: ['sleep', '1000'],
        })
        await container.start()
      }
      await rejectsWith('not_found', client.containers.get('gone'))
      await rejectsWith('not_found', client.snapshots().stat('gone'))
    })

    check('a container whose snapshot is gone is deleted all the same', async () => {
      const container = await client.containers.create('halved', { image })
      await client.snapshots().remove('halved')
      await container.delete()
      await rejectsWith('not_found', client.containers.get('halved'))
    })

    check('events come in order', async (t) => {
      const stop = new AbortController()
      const events = client.events(['namespace==client,topic~="^/(tasks|containers)"'], {
        signal: AbortSignal.any([stop.signal, t.signal]),
      })
      const topics: string[] = []
      const reading = (async () => {
        for await (const { topic } of events) {
          topics.push(topic)
          if (topic === '/containers/delete') break
        }
      })()
      // The subscription is one call among others: this answer comes after it has begun.
      await client.namespaces.list()
      {
        await using container = await client.containers.create('events', { image, args: ['true'] })
        await container.run()
      }
      await reading
      assert.deepEqual(topics, [
        '/containers/create',
        '/tasks/create',
        '/tasks/start',
        '/tasks/exit',
        '/tasks/delete',
        '/containers/delete',
      ])
    })

    check('a command that is not there is an error, and leaves no task', async () => {
      await using container = await client.containers.create('nothing', {
        image,
        args: ['/no/such/command'],
      })
      await assert.rejects(container.run({ stdout: () => {} }), /no such file|not found/)
      await rejectsWith('not_found', container.task())
      await container.delete()
      await rejectsWith('not_found', client.containers.get('nothing'))
    })

    check('many containers run at once, each with its own output', async () => {
      const outputs = await Promise.all(
        Array.from({ length: 8 }, async (_, i) => {
          await using container = await client.containers.create(`many-${i}`, {
            image,
            args: ['echo', String(i)],
          })
          let output = ''
          const { status } = await container.run({
            stdout: (chunk) => void (output += Buffer.from(chunk).toString()),
          })
          return [status, output]
        }),
      )
      assert.deepEqual(
        outputs,
        outputs.map((_, i) => [0, `${i}\n`]),
      )
    })

    check('what an image holds is kept by it, and goes with it', async () => {
      const other = client.with({ namespace: 'keeping' })
      const [kept] = await other.images.import(join(daemon.dir, 'oci.tar'))
      assert.ok(kept)
      const { digest } = kept.target
      const ctx = other.context()
      const doomed = { name: 'doomed', target: { ...kept.target } }
      await other.images.create(doomed)
      await other.images.delete('doomed', { synchronous: true })
      await other.content.info(ctx, digest)
      await other.snapshots().stat(await kept.chainId())
      await other.images.delete(kept.name, { synchronous: true })
      await rejectsWith('not_found', other.content.info(ctx, digest))
      assert.deepEqual(await Array.fromAsync(other.snapshots().list()), [])
      await other.namespaces.delete('keeping')
    })

    check('an archive that is none, or not whole, makes no image', async (t) => {
      const other = client.with({ namespace: 'broken' })
      const whole = await readFile(join(daemon.dir, 'oci.tar'))
      const bytes = async function* (end: number) {
        yield await Promise.resolve(whole.subarray(0, end))
      }
      await assert.rejects(other.images.import(bytes(whole.length / 2), { signal: t.signal }))
      await assert.rejects(
        other.images.import(bytes(0)),
        /unrecognized image format|unexpected EOF/,
      )
      assert.deepEqual(await other.images.list(), [])
    })

    check('labels are set and removed', async () => {
      await using container = await client.containers.create('labels', {
        image,
        labels: { a: '1', b: '2' },
      })
      const { labels } = await container.setLabels({ a: '', c: '3' })
      assert.deepEqual({ b: labels['b'], c: labels['c'] }, { b: '2', c: '3' })
      const found = await client.containers.list(['labels.c==3'])
      assert.deepEqual(
        found.map(({ id }) => id),
        ['labels'],
      )
    })

    check('a namespace that is not empty is not deleted', async () => {
      await rejectsWith('failed_precondition', client.namespaces.delete('client'), /must be empty/)
      await client.namespaces.create('empty', { purpose: 'none' })
      assert.deepEqual((await client.namespaces.get('empty')).labels, { purpose: 'none' })
      await client.namespaces.delete('empty')
    })
  })
}
