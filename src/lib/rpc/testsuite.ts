import { suite } from 'node:test'

import { implement } from './rpc.ts'
import { cancelTests } from './suite/cancel.ts'
import { errorTests } from './suite/errors.ts'
import { interceptorTests } from './suite/interceptors.ts'
import { lifeTests } from './suite/life.ts'
import { limitTests } from './suite/limits.ts'
import { messageTests } from './suite/messages.ts'
import { Test } from './suite/service.ts'
import {
  type Impl,
  type OpenOptions,
  type Opened,
  Serving,
  type Supports,
} from './suite/serving.ts'

/** Holds a transport to the contract of `rpc.ts`. */
export function rpcSuite(
  name: string,
  supports: Supports,
  open: (options: OpenOptions) => Promise<Opened>,
): void {
  suite(name, { timeout: 60_000 }, () => {
    const serve = async (impl: Impl, options: Partial<OpenOptions> = {}): Promise<Serving> =>
      new Serving(
        await open({ services: [implement(Test, impl)], context: (call) => call, ...options }),
      )
    messageTests(serve)
    errorTests(serve)
    limitTests(serve, supports)
    cancelTests(serve, supports)
    lifeTests(serve)
    interceptorTests(serve)
  })
}
