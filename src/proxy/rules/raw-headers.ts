/**
 * How are node:http's flat header lists turned round?
 * Owns: name, value, name, value… in other shapes.
 * Never: judges a field.
 */

/** Names in lower case, values as they are. */
export function lowerCased(raw: readonly string[]): string[] {
  return raw.map((text, at) => (at % 2 === 0 ? text.toLowerCase() : text));
}

export function pairs(flat: readonly string[]): [string, string][] {
  const out: [string, string][] = [];
  for (let at = 0; at < flat.length; at += 2) out.push([flat[at] ?? "", flat[at + 1] ?? ""]);
  return out;
}
