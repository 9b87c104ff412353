import type { LookupAddress } from 'node:dns'
import { lookup } from 'node:dns/promises'
import { isIP, type LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'

/** The addresses that a receiver may have: public ones, and those of networks that the setting names. */
export interface Addresses {
  isAllowed: (address: string) => boolean
  /** Whether the setting allows the address. */
  isListed: (address: string) => boolean
}

/**
 * At this address Azure gives machines their configuration and certificates, and no registry lists it. The addresses that other
 * clouds use for it (169.254.169.254, fd00:ec2::254, 100.100.100.200) are in ranges that are not public.
 */
const METADATA_ADDRESSES = new Set(['168.63.129.16'])

/**
 * All IPv6 addresses that are assigned for use on the internet (https://www.iana.org/assignments/ipv6-address-space). Others
 * may still have a meaning: `::a00:1` was once 10.0.0.1.
 */
const GLOBAL_UNICAST = ipaddr.parseCIDR('2000::/3')

/**
 * `networks` are addresses or networks such as `10.0.0.0/8`. An address is public if it may be routed on the internet and
 * stands for itself: it is in no loopback, private, link-local, shared (CGNAT), multicast, documentation or reserved range, and
 * it is no IPv6 address that leads to an IPv4 address elsewhere (NAT64, 6to4, Teredo). An IPv6 address that contains an IPv4
 * address (`::ffff:127.0.0.1`) is judged as that one.
 */
export const createAddresses = (networks: readonly string[]): Addresses => {
  const listed = networks.map(network => {
    const address = ipaddr.process(network.replace(/\/.*/, ''))
    const bits = network.includes('/') ? Number(network.replace(/.*\//, '')) : address.kind() === 'ipv4' ? 32 : 128
    return [address, bits] as const
  })
  const isListed = (text: string): boolean => {
    if (!ipaddr.isValid(text)) return false
    const address = ipaddr.process(text)
    return listed.some(([network, bits]) => address.kind() === network.kind() && address.match(network, bits))
  }
  const isPublic = (text: string): boolean => {
    if (!ipaddr.isValid(text)) return false
    const address = ipaddr.process(text)
    if (address.kind() === 'ipv6' && !address.match(...GLOBAL_UNICAST)) return false
    return address.range() === 'unicast' && !METADATA_ADDRESSES.has(address.toString())
  }
  return { isListed, isAllowed: text => isPublic(text) || isListed(text) }
}

/** The host resolves to no allowed address. */
export class AddressRefusedError extends Error {
  override readonly name = 'AddressRefusedError'
}

/** The host of a URL without the brackets of IPv6. */
export const hostOf = (url: URL): string => url.hostname.replace(/^\[(.*)\]$/, '$1')

export type Resolve = (host: string) => Promise<LookupAddress[]>

const resolveAll: Resolve = host => lookup(host, { all: true, order: 'verbatim' })

/**
 * A lookup for sockets: resolves a name, and answers only addresses that `isAllowed`. The socket connects to the address that
 * was checked, so pointing the name elsewhere meanwhile (DNS rebinding) has no effect. Node does not call it for a host that is
 * an address.
 */
export const guardedLookup =
  (isAllowed: (address: string) => boolean, resolve: Resolve = resolveAll): LookupFunction =>
  (host, options, callback) => {
    resolve(host)
      .then(found => {
        const [first, ...others] = found.filter(({ address }) => isAllowed(address))
        if (!first) throw new AddressRefusedError(host)
        if (options.all) callback(null, [first, ...others])
        else callback(null, first.address, first.family)
      })
      .catch((error: unknown) => callback(error as NodeJS.ErrnoException, ''))
  }

/** Whether a host is an address that is not allowed. Names are checked when they are connected to. */
export const isRefusedLiteral = (host: string, isAllowed: (address: string) => boolean): boolean =>
  isIP(host) !== 0 && !isAllowed(host)
