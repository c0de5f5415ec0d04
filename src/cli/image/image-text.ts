import type { Image } from '#client/image.ts'
import { write } from '#cli/write.ts'

/** An image in one line. */
export const imageText = ({ name, target }: Image): string => `${name} ${target.digest}\n`

/** An image for programs. */
export const imageJson = ({ name, target, labels }: Image): object => ({ name, target, labels })

/** Says which images something was done to. */
export async function printImages(
  images: readonly Image[],
  json: boolean,
  text: (image: Image) => string,
): Promise<void> {
  for (const image of images) {
    await write(
      process.stdout,
      json ? `${JSON.stringify({ image: imageJson(image) })}\n` : text(image),
    )
  }
}
