/*
 * All that moves images, as one module: it is loaded with the first image that is moved, since most starts of a
 * daemon need none of it, and a bundle with fewer parts starts sooner.
 */

export { RegistryClient } from '#core/remotes/client.ts'
export { exportImages } from './export.ts'
export { importImages } from './import.ts'
export { Downloads } from './pull/downloads.ts'
export { pullImage } from './pull/pull.ts'
export { pushImage } from './push.ts'
export { tagImage } from './tag.ts'
