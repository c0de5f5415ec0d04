/*
 * A mount namespace with the control groups of version 1 alone, for OCI runtimes that refuse machines with
 * both versions, as crun does. Nothing outside of it changes.
 */

const script = `
root=/sys/fs/cgroup
own=$(mktemp -d)
mount -t tmpfs -o mode=755 cgroups "$own"
for each in "$root"/*; do
  name=\${each##*/}
  if [ -L "$each" ]; then
    cp -P "$each" "$own"
  elif [ "$(stat -f -c %T "$each")" = cgroupfs ]; then
    mkdir "$own/$name"
    mount --bind "$each" "$own/$name"
  fi
done
mount --move "$own" "$root"
rmdir "$own"
exec "$@"
`

/** Runs the command that follows in such a namespace. It needs root, and util-linux. */
export const withLegacyCgroups = [
  'unshare',
  '--mount',
  '--propagation=private',
  'sh',
  '-ec',
  script,
  'sh',
] as const
