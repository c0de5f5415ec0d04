import { Command } from 'commander'

import { verifyCommand } from '#cli/verify/verify.ts'

import { convertCommand } from './convert.ts'
import { exportCommand } from './export.ts'
import { importCommand } from './import.ts'
import { listCommand } from './list.ts'
import { pullCommand } from './pull.ts'
import { pushCommand } from './push.ts'
import { removeCommand } from './remove.ts'
import { tagCommand } from './tag.ts'
import { usageCommand } from './usage.ts'

/** `wharf image`: images of a daemon. */
export function imageCommand(): Command {
  return new Command('image')
    .alias('images')
    .description('list, move and remove images')
    .exitOverride()
    .addCommand(listCommand())
    .addCommand(pullCommand())
    .addCommand(pushCommand())
    .addCommand(tagCommand())
    .addCommand(removeCommand())
    .addCommand(importCommand())
    .addCommand(exportCommand())
    .addCommand(convertCommand())
    .addCommand(usageCommand())
    .addCommand(verifyCommand())
}
