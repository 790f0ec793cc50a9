/**
 * Whose certificates may be ordered when a client first asks for them?
 * Owns: the block `onDemand` of a site: its declaration, and what it needs to be safe.
 * Never: decides about a name (acme/on-demand does).
 */
import * as z from "zod";
import { Refusal, shown } from "../findings.ts";
import { count, leaf } from "../values/leaves.ts";
import type { OnDemandConfig } from "../model.ts";
import type { DeclaredSite } from "../schema.ts";
import type { Resolver } from "../values/secrets.ts";

export const onDemandSchema = z
  .strictObject({
    ask: leaf(
      {
        doc: "Asked with ?domain=NAME: 200 allows the name, anything else does not.",
        example: "http://127.0.0.1:9000/wanted",
        json: { type: "string" },
      },
      readAsk,
    ).optional(),
    match: leaf(
      {
        doc: "Patterns of what may stand in place of the star, * for any characters; one, or a list.",
        example: ["shop-*"],
        json: { type: "array", items: { type: "string" } },
      },
      readPatterns,
    ).optional(),
    perHour: count({ doc: "New names in an hour, at most.", default: 10, min: 1, max: 100 }),
    most: count({ doc: "Names altogether, at most.", default: 100, min: 1, max: 1_000 }),
  })
  .optional()
  .meta({
    description:
      "For a name with a star: instead of one certificate for all, each name below it gets its own when a client first asks for it, if ask and match allow. At least one of the two is needed.",
  });

function readAsk(value: unknown): string | Refusal {
  if (typeof value !== "string" || !URL.canParse(value))
    return new Refusal(`${shown(value)} is not a URL`, "write http://127.0.0.1:9000/wanted");
  const url = new URL(value);
  if (url.protocol !== "http:" && url.protocol !== "https:")
    return new Refusal("is asked by http or https", "write http://");
  if (url.username !== "" || url.password !== "") return new Refusal("the URL has a user in it", "remove it");
  return url.href;
}

function readPatterns(value: unknown): readonly string[] | Refusal {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  const patterns: string[] = [];
  for (const one of list) {
    if (typeof one !== "string" || !/^[a-z0-9*-]{1,63}$/.test(one))
      return new Refusal(`${shown(one)} is not a pattern of a label`, "write shop-*, in lower case, without dots");
    patterns.push(one);
  }
  return patterns;
}

/** Undefined when there is none, or something was reported. */
export function resolveOnDemand(name: string, declared: DeclaredSite, resolver: Resolver): OnDemandConfig | undefined {
  const { onDemand } = declared;
  if (onDemand === undefined) return undefined;
  const wrong = (what: string, remedy: string): undefined => {
    resolver.report(["onDemand"], what, remedy, "key");
    return undefined;
  };
  if (!name.startsWith("*.")) return wrong("goes with a name with a star", 'write "*.example.org", or remove it');
  if (declared.passthrough !== undefined) return wrong("has no certificate to order: TLS goes through", "remove it");
  if (declared.names !== undefined) return wrong("gives each name a certificate of its own", "remove names");
  const { ask, match = [], perHour, most } = onDemand;
  if (ask === undefined && match.every((pattern) => /^\**$/.test(pattern)))
    return wrong("would let any stranger order certificates", "write ask, or a match that says more than *");
  return { ask, match, perHour, most };
}
