/** A number of seconds as a person says it: `12 s`, `3 min 5 s`. */
export function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`
}
