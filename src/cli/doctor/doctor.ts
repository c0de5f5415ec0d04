import { Command } from 'commander'

import { dbCommand } from './db.ts'
import { storeCommand } from './store.ts'

/** `wharf doctor`: finds what is wrong in what a daemon keeps on disk, says it in words, repairs it. */
export function doctorCommand(): Command {
  return new Command('doctor')
    .description('check what a daemon keeps on disk, and repair it')
    .exitOverride()
    .addCommand(dbCommand())
    .addCommand(storeCommand(), { isDefault: true })
}
