import type { Logger } from '#core/context.ts'
import { describe } from '#lib/errors/errors.ts'
import { sendDatagram } from '#sys/notify.ts'

/** Tells whoever started the daemon how far it is. */
export interface ServiceManager {
  /** It serves. */
  ready(): void
  /** It reads its configuration again; `ready` follows. */
  reloading(): void
  /** It ends. */
  stopping(): void
}

/**
 * The service manager that waits at `$NOTIFY_SOCKET`, see sd_notify(3); without one nothing is told.
 *
 * The variable is taken out of the environment: the programs that are started here are not the
 * service, and runc would hand it into containers.
 */
export function serviceManager(log: Logger, env: NodeJS.ProcessEnv = process.env): ServiceManager {
  const path = env['NOTIFY_SOCKET'] ?? ''
  delete env['NOTIFY_SOCKET']
  const tell = (state: string): void => {
    if (path === '') return
    try {
      sendDatagram(path, state)
    } catch (err) {
      log.warn('notifying the service manager failed', { state, error: describe(err) })
    }
  }
  return {
    ready: () => tell('READY=1'),
    reloading: () => tell(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`),
    stopping: () => tell('STOPPING=1'),
  }
}
