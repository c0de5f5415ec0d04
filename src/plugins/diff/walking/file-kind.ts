import { constants } from 'node:fs'

import type { FileStat } from '#sys/stat.ts'

const kindOf = (stat: FileStat): number => stat.mode & constants.S_IFMT

export const isDirectory = (stat: FileStat): boolean => kindOf(stat) === constants.S_IFDIR
export const isSymlink = (stat: FileStat): boolean => kindOf(stat) === constants.S_IFLNK
export const isRegular = (stat: FileStat): boolean => kindOf(stat) === constants.S_IFREG
export const isSocket = (stat: FileStat): boolean => kindOf(stat) === constants.S_IFSOCK
export const isCharacter = (stat: FileStat): boolean => kindOf(stat) === constants.S_IFCHR
export const isBlock = (stat: FileStat): boolean => kindOf(stat) === constants.S_IFBLK

/** Whether it is what overlay takes for a deleted file: the character device 0:0. */
export const isWhiteout = (stat: FileStat): boolean =>
  isCharacter(stat) && stat.rdev.major === 0 && stat.rdev.minor === 0
