import type { IncomingMessage, ServerResponse } from 'node:http'
import { resourceUsage } from 'node:process'

import { hasCode } from '#lib/errors/errors.ts'
import { activity } from '#lib/pprof/activity.ts'
import { type ThreadProfiler, startProfiler } from '#lib/pprof/profiler.ts'
import type { HttpHandler } from '#plugins/types.ts'

/** What a page answers. */
interface Answer {
  readonly status?: number
  readonly type: string
  readonly body: string | Buffer
  /** Name for a browser that saves it. */
  readonly file?: string
}

type Page = (query: URLSearchParams, signal: AbortSignal) => Answer | Promise<Answer>

const text = (body: string, status = 200): Answer => ({
  status,
  type: 'text/plain; charset=utf-8',
  body,
})

const profile = (body: Buffer, file: string): Answer => ({
  type: 'application/octet-stream',
  body,
  file,
})

/** Go has these for things Node has no counterpart of. */
const refused: Readonly<Record<string, string>> = {
  allocs: 'what has been allocated and freed is not kept; see heap for what is alive',
  block: 'JavaScript does not block on locks; see profile',
  mutex: 'JavaScript has no mutexes to contend for; see profile',
  threadcreate: 'the making of threads is not sampled; see goroutine for those there are',
  trace: 'execution traces are for Go programs; see profile',
}

const defaultSeconds = 30
const longestSeconds = 600

/** `/debug/vars` and `/debug/pprof/`, as Go's `expvar` and `net/http/pprof` have them. */
export function debugPages(profiler: ThreadProfiler): Readonly<Record<string, Page>> {
  const pages: Record<string, Page> = {
    '/debug/vars': () => ({ type: 'application/json; charset=utf-8', body: variables() }),
    '/debug/pprof/cmdline': () => text(process.argv.join('\0')),
    // Names are in the profiles; the tool asks whether it may look up addresses.
    '/debug/pprof/symbol': () => text('num_symbols: 0\n'),
    '/debug/pprof/goroutine': () => text(activity()),
    '/debug/pprof/heap': async (query) =>
      profile(await profiler.heap((query.get('gc') ?? '0') !== '0'), 'heap'),
    '/debug/pprof/profile': async (query, signal) => {
      const seconds = Number(query.get('seconds') ?? defaultSeconds)
      if (!(seconds > 0 && seconds <= longestSeconds)) {
        return text(`seconds must be a number up to ${longestSeconds}\n`, 400)
      }
      return profile(await profiler.cpu(seconds, signal), 'profile')
    },
  }
  for (const [name, why] of Object.entries(refused)) {
    pages[`/debug/pprof/${name}`] = () => text(`${name} is not supported by wharf: ${why}\n`, 501)
  }
  const index = `${Object.keys(pages).join('\n')}\n`
  return { ...pages, '/debug/pprof/': () => text(index) }
}

/** The process in numbers, as JSON. */
const variables = (): string =>
  `${JSON.stringify({
    cmdline: process.argv,
    pid: process.pid,
    uptime: process.uptime(),
    memory: process.memoryUsage(),
    resources: resourceUsage(),
    versions: process.versions,
  })}\n`

/** What `/debug` answers; the profiler starts with it and stops with it. */
export interface DebugHandler extends AsyncDisposable {
  readonly handle: HttpHandler
}

/** Starts to sample the heap, and answers requests below `/debug`. */
export async function openDebugHandler(): Promise<DebugHandler> {
  const profiler = await startProfiler()
  const pages = debugPages(profiler)
  return {
    handle: async (request, response) => await answer(pages, request, response),
    [Symbol.asyncDispose]: async () => await profiler[Symbol.asyncDispose](),
  }
}

async function answer(
  pages: Readonly<Record<string, Page>>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
  const page = pages[pathname] ?? pages[`${pathname}/`]
  const gone = new AbortController()
  response.once('close', () => gone.abort())
  try {
    send(response, page ? await page(searchParams, gone.signal) : text('not found\n', 404))
  } catch (err) {
    if (gone.signal.aborted) return
    if (!hasCode(err, 'failed_precondition')) throw err
    send(response, text(`${String(err)}\n`, 500))
  }
}

function send(response: ServerResponse, { status = 200, type, body, file }: Answer): void {
  response.writeHead(status, {
    'content-type': type,
    'x-content-type-options': 'nosniff',
    ...(file ? { 'content-disposition': `attachment; filename="${file}"` } : {}),
  })
  response.end(body)
}
