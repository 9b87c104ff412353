/** Modes that libpq knows as weaker ones and pg 8 does not; pg 9 will (https://node-postgres.com/features/ssl). */
const VERIFIED = new Set(['prefer', 'require', 'verify-ca'])

/**
 * The same URL with the mode that these stand for in pg 8, which verifies the certificate and its name. So pg prints no warning
 * of several lines at each start, and a later pg will not verify less. An operator who wants libpq's meaning adds
 * `uselibpqcompat=true`.
 */
export const withVerifiedTls = (url: string): string => {
  if (!url.includes('sslmode') || !URL.canParse(url)) return url
  const parsed = new URL(url)
  const { searchParams } = parsed
  if (!VERIFIED.has(searchParams.get('sslmode') ?? '') || searchParams.get('uselibpqcompat') === 'true') return url
  searchParams.set('sslmode', 'verify-full')
  return parsed.href
}
