/**
 * What does a router's XML say?
 * Owns: a tag reader for UPnP descriptions and SOAP answers, bounded in every direction.
 * Never: follows a DOCTYPE, an entity of the document's own, or a namespace: names are compared without prefix.
 *
 * Routers write sloppy XML and anybody on the LAN can write hostile XML. What is read here is names and texts; a library
 * would bring the rest of the standard, which is where the attacks are.
 */

export interface XmlElement {
  name: string;
  text: string;
  children: XmlElement[];
}

/** A description of a router with all its services is 10 kB and 200 elements. */
const MAX_TEXT = 256_000;
const MAX_ELEMENTS = 4_000;
const MAX_DEPTH = 32;

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

function unescape(text: string): string {
  return text.replace(/&(#x[0-9a-f]{1,6}|#\d{1,7}|[a-z]{2,4});/gi, (all, name: string) => {
    if (!name.startsWith("#")) return ENTITIES[name] ?? all;
    const code = /^#x/i.test(name) ? Number.parseInt(name.slice(2), 16) : Number(name.slice(1));
    return code > 0 && code <= 0x10_ffff ? String.fromCodePoint(code) : all;
  });
}

/** Undefined for what is not one well-nested tree within the bounds. Attributes are skipped. */
export function readXml(text: string): XmlElement | undefined {
  if (text.length > MAX_TEXT) return undefined;
  const root: XmlElement = { name: "", text: "", children: [] };
  const open: XmlElement[] = [root];
  let elements = 0;
  let at = 0;
  while (at < text.length) {
    const here = open.at(-1) ?? root;
    const next = text.indexOf("<", at);
    if (next === -1) break;
    here.text += unescape(text.slice(at, next));
    if (text.startsWith("<!--", next)) {
      at = after(text, "-->", next + 4);
    } else if (text.startsWith("<![CDATA[", next)) {
      at = after(text, "]]>", next + 9);
      if (at !== -1) here.text += text.slice(next + 9, at - 3);
    } else if (text.startsWith("<?", next)) {
      at = after(text, "?>", next + 2);
    } else if (text.startsWith("<!", next)) {
      return undefined;
    } else {
      at = after(text, ">", next + 1);
      const tag = at === -1 ? "" : text.slice(next + 1, at - 1);
      const name = /^\/?(?:[\w.-]+:)?([\w.-]+)(?=[\s/]|$)/.exec(tag)?.[1];
      if (name === undefined) return undefined;
      if (tag.startsWith("/")) {
        if (open.length === 1 || here.name !== name) return undefined;
        open.pop();
      } else {
        const element: XmlElement = { name, text: "", children: [] };
        if (++elements > MAX_ELEMENTS) return undefined;
        here.children.push(element);
        if (!tag.endsWith("/")) open.push(element);
        if (open.length > MAX_DEPTH) return undefined;
      }
    }
    if (at === -1) return undefined;
  }
  return open.length === 1 ? root.children[0] : undefined;
}

function after(text: string, end: string, from: number): number {
  const at = text.indexOf(end, from);
  return at === -1 ? -1 : at + end.length;
}

/** Every element of that name, at any depth. */
export function findAll(element: XmlElement, name: string): XmlElement[] {
  const found: XmlElement[] = [];
  const look = (one: XmlElement): void => {
    if (one.name === name) found.push(one);
    one.children.forEach(look);
  };
  look(element);
  return found;
}

/** The trimmed text of the first element of that name, at any depth. */
export const textOf = (element: XmlElement, name: string): string | undefined => findAll(element, name)[0]?.text.trim();

export const escapeXml = (text: string): string =>
  text.replace(/[<>&"']/g, (one) => `&${Object.keys(ENTITIES).find((name) => ENTITIES[name] === one) ?? ""};`);
