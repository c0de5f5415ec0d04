import { isJsonFileUri, parseJsonFileUri } from '#core/logs/json-file.ts'
import type { Labels } from '#core/labels/labels.ts'
import { failedPrecondition } from '#lib/errors/errors.ts'

/** Where a task that is to be restarted logs to. Source: upstream `core/runtime/restart`. */
const restartLabel = 'containerd.io/restart.loguri'

/** What is known of where a container logs to. */
export interface LogSource {
  readonly id: string
  /** Of its task; empty when it has none. */
  readonly stdout: string
  readonly labels: Labels
}

/**
 * The log of a container that uses the driver `json-file`: its task's, or the one that its next task
 * would have.
 *
 * @throws `failed_precondition` when its output goes elsewhere, or nobody can tell where it went.
 */
export function logPathOf({ id, stdout, labels }: LogSource): string {
  const uri = stdout || (labels[restartLabel] ?? '')
  if (isJsonFileUri(uri)) return parseJsonFileUri(uri).path
  if (uri !== '') {
    throw failedPrecondition(
      `the output of container ${id} goes to "${uri}", which cannot be read back; ` +
        'json-file:///path as log URI can',
    )
  }
  throw failedPrecondition(
    `container ${id} has no task whose output is logged; name its log file instead`,
  )
}
