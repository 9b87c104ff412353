import type { LookupAddress } from 'node:dns'
import { lookup } from 'node:dns/promises'
import { isIP, type LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'

/** Addresses that a receiver may have: public ones, and those of networks that a setting names. */
export interface Addresses {
  isAllowed: (address: string) => boolean
  /** Whether it is allowed by the setting alone. */
  isListed: (address: string) => boolean
}

/**
 * Azure answers machines here with their configuration and certificates; no registry says so. What other clouds use for it
 * (169.254.169.254, fd00:ec2::254, 100.100.100.200) is in ranges that are not public.
 */
const METADATA_ADDRESSES = new Set(['168.63.129.16'])

/**
 * All that has been given to anyone (https://www.iana.org/assignments/ipv6-address-space). What lies outside may still mean
 * something to somebody: `::a00:1` was once 10.0.0.1.
 */
const GLOBAL_UNICAST = ipaddr.parseCIDR('2000::/3')

/**
 * `networks` are addresses or networks such as `10.0.0.0/8`. Public is what may be routed on the internet and stands for
 * itself: no loopback, private, link-local, shared (CGNAT), multicast, documentation or reserved range, and no address of
 * version 6 that leads to one of version 4 elsewhere (NAT64, 6to4, Teredo). One that holds an address of version 4
 * (`::ffff:127.0.0.1`) is judged as that.
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

/** The host resolves to no address that is allowed. */
export class AddressRefusedError extends Error {
  override readonly name = 'AddressRefusedError'
}

/** The host of a URL without the brackets of version 6. */
export const hostOf = (url: URL): string => url.hostname.replace(/^\[(.*)\]$/, '$1')

export type Resolve = (host: string) => Promise<LookupAddress[]>

const resolveAll: Resolve = host => lookup(host, { all: true, verbatim: true })

/**
 * For sockets: resolves a name, and answers only addresses that `isAllowed`. What is checked is what is connected to: a name
 * that is pointed elsewhere meanwhile (DNS rebinding) gains nothing. Node does not ask it for a host that is an address.
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

/** A host that is an address and not allowed; what a name leads to is seen when it is connected to. */
export const isRefusedLiteral = (host: string, isAllowed: (address: string) => boolean): boolean =>
  isIP(host) !== 0 && !isAllowed(host)
