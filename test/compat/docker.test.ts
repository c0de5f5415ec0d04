import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { hasDocker, startDocker, type TestDocker } from '#testing/docker.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'

/*
 * Docker as it is, on wharfd: with images of its own and with images in wharfd's stores, where its
 * BuildKit builds with wharfd's snapshots, leases and content.
 */

const image = 'docker.io/library/busybox:latest'
const skip = hasDocker() ? false : 'Docker was not fetched'

suite('Docker', { skip }, () => {
  for (const imagesInContainerd of [false, true]) {
    const where = imagesInContainerd ? 'images in wharfd' : 'images of its own'
    test(`${where}: containers live their lives, and images are built from each other`, async () => {
      await using world = await start(imagesInContainerd)
      await runsContainers(world.docker)
      await survives(world)
      await buildsImages(world)
    })
  }
})

interface World extends AsyncDisposable {
  readonly daemon: TestDaemon
  readonly docker: TestDocker
}

async function start(imagesInContainerd: boolean): Promise<World> {
  await using scope = new AsyncDisposableStack()
  const daemon = scope.use(await startDaemon())
  const docker = scope.use(await startDocker(daemon, { imagesInContainerd }))
  const archive = join(daemon.dir, 'busybox.tar')
  await writeImage({ ...busyboxImage(image), format: 'docker' }, archive)
  await docker.docker('load', '-i', archive)
  const owned = scope.move()
  return { daemon, docker, [Symbol.asyncDispose]: async () => await owned.disposeAsync() }
}

async function runsContainers({ docker, ran }: TestDocker): Promise<void> {
  assert.equal(await docker('run', '--rm', '--net=none', image, 'echo', 'hello'), 'hello\n')
  const failed = await ran('run', '--rm', '--net=none', image, 'sh', '-c', 'echo no >&2; exit 7')
  assert.deepEqual([failed.code, failed.stderr], [7, 'no\n'])
  assert.match(await docker('run', '--rm', '-t', '--net=none', image, 'tty'), /^\/dev\/pts\/0\r?\n/)

  await docker('run', '-d', '--name', 'one', '--net=none', image, 'sleep', '1000')
  assert.equal(await docker('exec', 'one', 'echo', 'exec'), 'exec\n')
  assert.match(await docker('top', 'one'), /sleep 1000/)
  assert.match(await docker('stats', '--no-stream', 'one'), /\bone\b/)
  await docker('pause', 'one')
  assert.match(await docker('ps'), /\(Paused\)/)
  await docker('unpause', 'one')
  await docker('update', '--memory', '64m', '--memory-swap', '64m', 'one')
  await docker('kill', 'one')
  assert.equal(await docker('wait', 'one'), '137\n')
  await docker('start', 'one')
  await docker('restart', '-t', '0', 'one')
  assert.equal(await docker('exec', 'one', 'echo', 'again'), 'again\n')
}

/** The container `one` goes on while wharfd is killed, and Docker finds it afterwards. */
async function survives({ daemon, docker }: World): Promise<void> {
  await daemon.stop('SIGKILL')
  await daemon.start()
  // Docker tries to connect now and then only.
  const isBack = async (): Promise<boolean> => (await docker.ran('exec', 'one', 'true')).code === 0
  const signal = AbortSignal.timeout(30_000)
  while (!(await isBack())) await sleep(100, undefined, { signal })
  assert.equal(await docker.docker('exec', 'one', 'echo', 'after'), 'after\n')
  await docker.docker('rm', '-f', 'one')
  assert.equal((await docker.docker('ps', '-aq')).trim(), '')
}

const dockerfile = `FROM ${image}
RUN echo built > /made && chmod 600 /made
COPY Dockerfile /copied
RUN rm /tmp/.keep && mkdir -p /deep/er && ln /made /deep/er/link
CMD ["cat", "/deep/er/link"]
`

async function buildsImages({ daemon, docker: { docker, ran } }: World): Promise<void> {
  const context = join(daemon.dir, 'context')
  await mkdir(context)
  await writeFile(join(context, 'Dockerfile'), dockerfile)
  await docker('buildx', 'build', '--network=none', '--load', '-t', 'built:1', context)
  assert.equal(await docker('run', '--rm', '--net=none', 'built:1'), 'built\n')
  const listed = await ran('run', '--rm', '--net=none', 'built:1', 'ls', '/tmp/.keep', '/copied')
  assert.match(listed.stdout, /^\/copied$/m)
  assert.equal(listed.code, 1)

  const saved = join(daemon.dir, 'saved.tar')
  await docker('save', '-o', saved, 'built:1')
  await docker('rmi', 'built:1')
  assert.notEqual((await ran('image', 'inspect', 'built:1')).code, 0)
  await docker('load', '-i', saved)
  assert.equal(await docker('run', '--rm', '--net=none', 'built:1'), 'built\n')

  await docker('create', '--name', 'two', '--net=none', image, 'sh', '-c', 'echo change > /change')
  await docker('start', '-a', 'two')
  await docker('commit', 'two', 'committed:1')
  assert.equal(
    await docker('run', '--rm', '--net=none', 'committed:1', 'cat', '/change'),
    'change\n',
  )
  assert.match(await docker('diff', 'two'), /^A \/change$/m)
  await docker('system', 'prune', '-af')
  assert.equal((await docker('images', '-q')).trim(), '')
}
