import { connect } from 'node:net'

/** Longer than this nobody takes to accept who still lives, ms. */
const connectMs = 2000

/** Whether somebody serves at the socket `path`; when that cannot be told, somebody does. */
export async function isServed(path: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = connect({ path })
  using _timer = setTimeout(() => resolve(true), connectMs)
  socket.once('connect', () => resolve(true))
  socket.once('error', (err: NodeJS.ErrnoException) => {
    resolve(err.code !== 'ENOENT' && err.code !== 'ECONNREFUSED')
  })
  try {
    return await promise
  } finally {
    socket.destroy()
  }
}
