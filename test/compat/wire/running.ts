import { Health } from '#gen/grpc/health_pb.ts'
import { Diff } from '#gen/services/diff_pb.ts'
import { Events } from '#gen/services/events_pb.ts'
import { Introspection } from '#gen/services/introspection_pb.ts'
import { Tasks } from '#gen/services/tasks_pb.ts'

import { type Steps, badFilters, inside } from './steps.ts'

/** Calls for the task of container `c1`, which has none. */
export const taskSteps: Steps = (connection) => {
  const tasks = connection.client(Tasks)
  const one = { containerId: 'c1' }
  const none = { containerId: 'zz' }
  const wrong = { typeUrl: 'containerd.runc.v1.CheckpointOptions' }
  return [
    ['get', () => tasks.get(one, inside)],
    ['get without a container', () => tasks.get(none, inside)],
    ['start', () => tasks.start(one, inside)],
    ['delete', () => tasks.delete(one, inside)],
    ['kill', () => tasks.kill({ ...one, signal: 9 }, inside)],
    ['exec without an id', () => tasks.exec(one, inside)],
    ['exec', () => tasks.exec({ ...one, execId: 'e' }, inside)],
    ['wait', () => tasks.wait(one, inside)],
    ['checkpoint', () => tasks.checkpoint(one, inside)],
    ['list', () => tasks.list({}, inside)],
    ['list without a namespace', () => tasks.list({})],
    ['measure', () => tasks.metrics({}, inside)],
    ['create without a container', () => tasks.create(none, inside)],
    [
      'create with options of something else',
      () => tasks.create({ ...one, options: wrong }, inside),
    ],
    [
      'restore from no checkpoint',
      () => tasks.create({ ...one, checkpoint: { mediaType: 'x' } }, inside),
    ],
    [
      'create with a shim that is not there',
      () => tasks.create({ ...one, runtimePath: '/no/shim' }, inside),
    ],
  ]
}

const event = { typeUrl: 'x' }

/** Calls for everything that has only a few. */
export const otherSteps: Steps = (connection) => {
  const { publish, forward, subscribe } = connection.client(Events)
  const about = (topic: string) => () => publish({ topic, event }, inside)
  const health = connection.client(Health)
  return [
    ['publish', about('/a/b')],
    ['publish about nothing', about('')],
    ['publish without a slash', about('a/b')],
    ['publish about half', about('/a')],
    ['publish about what is no name', about('/a/b c')],
    ['publish about a slash', about('/')],
    ['forward without a namespace', () => forward({ envelope: { topic: '/a/b', event } }, inside)],
    ['subscribe by a bad filter', () => subscribe({ filters: badFilters }, inside)],
    ['health', () => health.check({})],
    ['health of something', () => health.check({ service: 'x' })],
    ['compare to a strange type', () => connection.client(Diff).diff({ mediaType: 'x' }, inside)],
    [
      'a plugin that is not there',
      () => connection.client(Introspection).pluginInfo({ type: 'a', id: 'b' }),
    ],
  ]
}
