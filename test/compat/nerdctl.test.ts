import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { DockerRegistry, lacksRegistry } from '#testing/docker-registry.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'
import { lacksNerdctl, Nerdctl, startBuildkit } from '#testing/nerdctl.ts'

/*
 * nerdctl as it is, on wharfd, and BuildKit by itself, which builds with wharfd's snapshots, leases,
 * content and tasks. Containers have no network: it would be this machine's.
 */

const image = 'docker.io/library/busybox:latest'
const skip = lacksNerdctl ?? lacksRegistry ?? false
const alone = ['run', '--rm', '--net=none']

suite('nerdctl', { skip }, () => {
  test('containers live their lives, also while wharfd is killed', async () => {
    await using daemon = await startDaemon()
    const client = new Nerdctl(daemon)
    await load(daemon, client)
    await runsOnce(client)
    await runsInBackground(daemon, client)
    await keepsImages(daemon, client)
  })

  test('BuildKit builds on an image that was loaded just now, and from what it has kept', async () => {
    await using daemon = await startDaemon()
    await using registry = await DockerRegistry.open()
    await using buildkit = await startBuildkit(daemon, registry.host)
    const { address, buildctl } = buildkit
    const client = new Nerdctl(daemon, address)
    const { nerdctl } = client
    await load(daemon, client)
    const base = `${registry.host}/busybox:1`
    await nerdctl('tag', image, base)
    await nerdctl('push', '-q', base)

    const context = join(daemon.dir, 'context')
    await mkdir(context)
    await writeFile(join(context, 'Dockerfile'), dockerfileOn(base))
    await nerdctl('build', '-q', '-t', 'built:1', context)
    assert.equal(await nerdctl(...alone, 'built:1'), 'built\n')
    const listed = await client.ran([...alone, 'built:1', 'ls', '/tmp/.keep', '/copied'])
    assert.deepEqual([listed.code, listed.stdout], [1, '/copied\n'])

    const build = ['build', '--frontend', 'dockerfile.v0', '--local', `context=${context}`]
    build.push('--local', `dockerfile=${context}`, '--progress', 'quiet')
    const [cache, archive] = [join(daemon.dir, 'cache'), join(daemon.dir, 'built.tar')]
    const toCache = ['--export-cache', `type=local,dest=${cache},mode=max`]
    await buildctl(...build, '--output', `type=docker,name=built:2,dest=${archive}`, ...toCache)
    await nerdctl('load', '-i', archive)
    assert.equal(await nerdctl(...alone, 'built:2'), 'built\n')
    await buildctl('prune', '--all')
    assert.match(await buildctl('du'), /^Total:\s+0B$/m)
    const fromCache = ['--import-cache', `type=local,src=${cache}`]
    await buildctl(...build, '--output', 'type=image,name=built:3,compression=zstd', ...fromCache)
    assert.equal(await nerdctl(...alone, 'built:3'), 'built\n')
  })
})

async function load({ dir }: TestDaemon, { nerdctl }: Nerdctl): Promise<void> {
  const archive = join(dir, 'busybox.tar')
  await writeImage({ ...busyboxImage(image), format: 'docker' }, archive)
  assert.match(await nerdctl('load', '-i', archive), /^Loaded image: busybox:latest$/m)
}

async function runsOnce(client: Nerdctl): Promise<void> {
  assert.equal(await client.nerdctl(...alone, image, 'echo', 'hello'), 'hello\n')
  const failed = await client.ran([...alone, image, 'sh', '-c', 'echo no >&2; exit 7'])
  assert.deepEqual([failed.code, failed.stderr], [7, 'no\n'])
  // Its input ends before it has been created.
  const copied = await client.ran([...alone, '-i', image, 'cat'], 'input\n')
  assert.deepEqual([copied.code, copied.stdout], [0, 'input\n'])
}

async function runsInBackground(daemon: TestDaemon, client: Nerdctl): Promise<void> {
  const { nerdctl } = client
  const script = 'echo started; exec sleep 1000'
  await nerdctl('run', '-d', '--name', 'one', '--net=none', image, 'sh', '-c', script)
  assert.equal(await nerdctl('exec', 'one', 'echo', 'exec'), 'exec\n')
  const copied = await client.ran(['exec', '-i', 'one', 'cat'], 'input\n')
  assert.deepEqual([copied.code, copied.stdout], [0, 'input\n'])
  assert.equal(await nerdctl('logs', 'one'), 'started\n')
  assert.match(await nerdctl('top', 'one'), /sleep 1000/)
  assert.match(await nerdctl('stats', '--no-stream', 'one'), /\bone\b/)
  await nerdctl('pause', 'one')
  assert.match(await nerdctl('ps', '-a'), /\bPaused\b/)
  await nerdctl('unpause', 'one')
  await nerdctl('update', '--memory', '64m', '--memory-swap', '64m', 'one')
  await daemon.stop('SIGKILL')
  await daemon.start()
  assert.equal(await nerdctl('exec', 'one', 'echo', 'after'), 'after\n')
  await nerdctl('cp', join(daemon.dir, 'config.toml'), 'one:/copied')
  await nerdctl('commit', 'one', 'committed:1')
  await nerdctl('kill', 'one')
  assert.equal(await nerdctl('wait', 'one'), '137\n')
  await nerdctl('start', 'one')
  await nerdctl('restart', '-t', '0', 'one')
  assert.match(await nerdctl(...alone, 'committed:1', 'cat', '/copied'), /^version = 2$/m)
  await nerdctl('rm', '-f', 'one')
  assert.equal(await nerdctl('ps', '-aq'), '')
}

async function keepsImages(daemon: TestDaemon, { nerdctl }: Nerdctl): Promise<void> {
  const saved = join(daemon.dir, 'saved.tar')
  await nerdctl('image', 'convert', '--oci', '--zstd', 'committed:1', 'zstd:1')
  await nerdctl('save', '-o', saved, 'zstd:1')
  await nerdctl('rmi', 'zstd:1', 'committed:1')
  await nerdctl('load', '-i', saved)
  assert.match(await nerdctl(...alone, 'zstd:1', 'cat', '/copied'), /^version = 2$/m)
  await nerdctl('image', 'prune', '-af')
  assert.equal(await nerdctl('images', '-q'), '')
}

const dockerfileOn = (base: string): string => `FROM ${base} AS first
RUN echo built > /made && chmod 600 /made
RUN --mount=type=cache,target=/cache echo x >> /cache/x
FROM ${base}
COPY Dockerfile /copied
COPY --from=first /made /from/made
RUN rm /tmp/.keep
CMD ["cat", "/from/made"]
`
