import { formatSeconds } from './numbers.ts'

const two = (number: number): string => String(number).padStart(2, '0')

/** `2026-11-27 03:10:12 +01:00`, in the time zone of this machine (TZ). */
export const formatTime = (iso: string): string => {
  const date = new Date(iso)
  const minutes = -date.getTimezoneOffset()
  const zone = `${minutes < 0 ? '-' : '+'}${two(Math.floor(Math.abs(minutes) / 60))}:${two(Math.abs(minutes) % 60)}`
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())} ${zone}`
}

/** `3 s ago`, by the clock of this machine; `now` if that clock is behind. */
export const formatAge = (iso: string, nowMs: number): string => {
  const seconds = Math.floor((nowMs - Date.parse(iso)) / 1000)
  return seconds <= 0 ? 'now' : `${formatSeconds(seconds)} ago`
}
