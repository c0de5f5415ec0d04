import assert from 'node:assert/strict'

import { type Estate, type Ledger, pictures } from './handover-estate.ts'

type Below = (limit: number) => number

interface Step {
  readonly name: string
  /** What it could be done to now; a step that needs nothing gives one empty name. */
  readonly targets: (ledger: Ledger) => readonly string[]
  readonly run: (to: Clients, target: string) => Promise<void>
}

/** The clients of one namespace. */
interface Clients {
  readonly ledger: Ledger
  readonly below: Below
  readonly ctr: (...args: readonly string[]) => Promise<string>
  readonly archive: (index: number) => string
}

/** Lets the clients of `namespace` do one thing, and notes what they were told. @returns what it was. */
export async function doSomething(
  estate: Estate,
  namespace: string,
  below: Below,
): Promise<string> {
  const ledger = estate.ledger(namespace)
  const possible = steps.flatMap((step) => {
    const targets = step.targets(ledger)
    return targets.length > 0 ? [{ step, targets }] : []
  })
  const chosen = possible[below(possible.length)]
  assert.ok(chosen)
  const target = chosen.targets[below(chosen.targets.length)] ?? ''
  const clients: Clients = {
    ledger,
    below,
    ctr: async (...args) => await estate.ctr(namespace, ...args),
    archive: (index) => estate.archive(pictureAt(index).source),
  }
  await chosen.step.run(clients, target)
  return chosen.step.name
}

const always = (): readonly string[] => ['']
const few = 6
const pictureAt = (index: number): (typeof pictures)[number] => {
  const picture = pictures[index]
  assert.ok(picture)
  return picture
}
const tasksThat = (ledger: Ledger, ...statuses: string[]): string[] =>
  [...ledger.tasks].filter(([, { status }]) => statuses.includes(status)).map(([id]) => id)

/** Tasks that stop are noted as they are listed, by whichever daemon. */
async function noteTask({ ledger, ctr }: Clients, id: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    const listed = (await ctr('task', 'ls')).split('\n').map((line) => line.split(/\s+/))
    const [, pid = '', status = ''] = listed.find(([name]) => name === id) ?? []
    const known = status === 'RUNNING' || status === 'PAUSED' || status === 'STOPPED'
    assert.ok(known, `task ${id} is ${status}`)
    const before = ledger.tasks.get(id)
    if (before?.status !== status || tries === 100) {
      if (before) assert.equal(pid, before.pid)
      ledger.tasks.set(id, { pid, status })
      return
    }
  }
}

const steps: readonly Step[] = [
  {
    name: 'imported an image',
    targets: always,
    run: async ({ ledger, below, ctr, archive }) => {
      const index = below(pictures.length)
      const picture = pictureAt(index)
      await ctr('image', 'import', archive(index))
      ledger.images.set(picture.source.name, picture)
    },
  },
  {
    name: 'removed an image',
    targets: (ledger) => [...ledger.images.keys()],
    run: async ({ ledger, below, ctr }, name) => {
      await ctr('image', 'rm', ...(below(2) === 0 ? ['--sync'] : []), name)
      ledger.images.delete(name)
    },
  },
  {
    name: 'ran a container',
    targets: (ledger) => (ledger.containers.size < few ? [...ledger.images.keys()] : []),
    run: async (clients, image) => {
      const { ledger, ctr } = clients
      const id = `c${ledger.next++}`
      const script = `echo ${id} > /mark; exec sleep 100000`
      await ctr('run', '-d', '--label', 'mark=new', image, id, 'sh', '-c', script)
      ledger.containers.set(id, { image, mark: 'new' })
      await noteTask(clients, id)
      const exec = ['task', 'exec', '--exec-id', `wait-${ledger.next++}`, id]
      await ctr(...exec, 'sh', '-c', 'until test -s /mark; do sleep 0.02; done')
    },
  },
  {
    name: 'created a container',
    targets: (ledger) => (ledger.containers.size < few ? [...ledger.images.keys()] : []),
    run: async ({ ledger, ctr }, image) => {
      const id = `c${ledger.next++}`
      await ctr('container', 'create', '--label', 'mark=new', image, id, 'true')
      ledger.containers.set(id, { image, mark: 'new' })
    },
  },
  {
    name: 'labelled a container',
    targets: (ledger) => [...ledger.containers.keys()],
    run: async ({ ledger, ctr }, id) => {
      const mark = `m${ledger.next++}`
      await ctr('container', 'label', id, `mark=${mark}`)
      const container = ledger.containers.get(id)
      if (container) container.mark = mark
    },
  },
  {
    name: 'killed a task',
    targets: (ledger) => tasksThat(ledger, 'RUNNING'),
    run: async (clients, id) => {
      await clients.ctr('task', 'kill', '-s', 'SIGKILL', id)
      await noteTask(clients, id)
    },
  },
  {
    name: 'paused or resumed a task',
    targets: (ledger) => tasksThat(ledger, 'RUNNING', 'PAUSED'),
    run: async (clients, id) => {
      const paused = clients.ledger.tasks.get(id)?.status === 'PAUSED'
      await clients.ctr('task', paused ? 'resume' : 'pause', id)
      await noteTask(clients, id)
    },
  },
  {
    name: 'removed a container',
    targets: (ledger) =>
      [...ledger.containers.keys()].filter((id) => {
        const status = ledger.tasks.get(id)?.status
        return status === undefined || status === 'STOPPED'
      }),
    run: async ({ ledger, ctr }, id) => {
      if (ledger.tasks.has(id)) await ctr('task', 'rm', id).catch(refuseAllBut137)
      ledger.tasks.delete(id)
      await ctr('container', 'rm', id)
      ledger.containers.delete(id)
    },
  },
  {
    name: 'prepared a snapshot',
    targets: (ledger) => [
      '',
      ...[...ledger.snapshots].filter(([, { kind }]) => kind === 'Committed').map(([key]) => key),
    ],
    run: async ({ ledger, ctr }, parent) => {
      const key = `s${ledger.next++}`
      await ctr('snapshot', 'prepare', key, ...(parent ? [parent] : []))
      await ctr('snapshot', 'label', key, 'containerd.io/gc.root=yes')
      ledger.snapshots.set(key, { parent, kind: 'Active' })
    },
  },
  {
    name: 'committed a snapshot',
    targets: (ledger) =>
      [...ledger.snapshots].filter(([, { kind }]) => kind === 'Active').map(([key]) => key),
    run: async ({ ledger, ctr }, key) => {
      const name = `s${ledger.next++}`
      const parent = ledger.snapshots.get(key)?.parent ?? ''
      await ctr('snapshot', 'commit', name, key)
      ledger.snapshots.delete(key)
      ledger.snapshots.set(name, { parent, kind: 'Committed' })
    },
  },
  {
    name: 'made a lease',
    targets: always,
    run: async ({ ledger, ctr }) => {
      const id = `l${ledger.next++}`
      await ctr('leases', 'create', '--id', id)
      ledger.leases.add(id)
    },
  },
  {
    name: 'removed a lease',
    targets: (ledger) => [...ledger.leases],
    run: async ({ ledger, ctr }, id) => {
      await ctr('leases', 'rm', id)
      ledger.leases.delete(id)
    },
  },
]

/** `ctr task rm` ends with the code of the task. */
function refuseAllBut137(err: unknown): void {
  if (!(err instanceof assert.AssertionError) || err.actual !== 137) throw err
}
