const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉']

/** A bar of exactly `width` characters; `fraction` is 0..1. */
export const bar = (fraction: number, width: number, unicode: boolean): { done: string; left: string } => {
  const filled = Math.max(0, Math.min(fraction, 1)) * width
  const whole = Math.floor(filled)
  if (!unicode) return { done: '#'.repeat(whole), left: '.'.repeat(width - whole) }
  const part = whole === width ? '' : (EIGHTHS[Math.floor((filled - whole) * 8)] ?? '')
  return { done: '█'.repeat(whole) + part, left: '░'.repeat(width - whole - part.length) }
}
