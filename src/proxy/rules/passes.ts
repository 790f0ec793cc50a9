/**
 * Has this request been here before?
 * Owns: how a request is marked on its way to a target, and how often it may come back.
 * Never: believes the mark for anything else: whoever writes one himself only shortens his own way.
 *
 * A site whose target is Gatehouse again, straight away or through a router or another proxy, would ask itself until all
 * connections are taken. The mark is the `by` of Forwarded, an obfuscated name (RFC 7239 §5.1 and §6.3), for proxies leave
 * that field alone. Via (RFC 9110 §7.6.3) lost: targets turn compression off when they see one (nginx, gzip_proxied).
 */

const SIGN = "by=_gatehouse-";

/** A site of ours behind a site of ours is one return, and one more behind that is two. Nobody means a fourth. */
export const MAX_RETURNS = 3;

/** Does some Gatehouse say that it has had this request? Cheap; for the lane that reads no lists of fields. */
export const isMarked = (forwarded: string): boolean => forwarded.includes(SIGN);

/** @param mark  of this Gatehouse, hexadecimal; workers share one. @returns how often it was here before */
export function returnsSaid(forwarded: string | undefined, mark: string): number {
  if (forwarded === undefined) return 0;
  const own = `${SIGN}${mark}-`;
  const at = forwarded.lastIndexOf(own);
  const digit = at < 0 ? "" : forwarded.charAt(at + own.length);
  return digit >= "1" && digit <= "9" ? Number(digit) : 0;
}

/** The parameter for Forwarded of a request that was here `returns` times before. */
export const markOf = (mark: string, returns: number): string => `${SIGN}${mark}-${Math.min(returns + 1, 9)}`;
