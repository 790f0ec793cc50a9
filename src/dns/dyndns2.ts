/**
 * How is a service told that speaks dyndns2: No-IP, Dynu, Strato, OVH and many more?
 * Owns: its one update address (https://help.dyn.com/return-codes/) and the meaning of each word that it answers.
 * Never: asks again: after most of its refusals a client has to be silent until a person has acted, or is blocked.
 */
import { isIP } from "node:net";
import type { AddressWriter, Dyndns2Settings } from "./contract.ts";
import { failed, quoted, refused } from "./refusals.ts";
import { callWeb } from "./web-call.ts";

const PROVIDER = "the dyndns2 service";

/** No-IP and Dyn: not before 30 minutes. */
const AFTER_911_MS = 1_800_000;

/** What only a person can change: what it means, and where to look. */
const REFUSALS: Readonly<Record<string, readonly [what: string, hint: string]>> = {
  badauth: ["does not know this user and password", "Check dyndns2.user and dyndns2.password."],
  "!donator": ["wants a paid account for this", "Look at the service's own page."],
  "!active": ["says that the name is not active", "Confirm or renew the name at the service's own page."],
  notfqdn: ["says that this is no whole name", "Write the whole name in ddns.names: myhome.ddns.net."],
  nohost: ["does not have this name in the account", "Create it at the service's own page, or correct ddns.names."],
  "!yours": ["says that the name is somebody else's", "Correct ddns.names, or dyndns2.user."],
  numhost: ["says that these are too many names", "Ask the service how many the account may have."],
  abuse: ["has blocked the name for too many updates", "Its own page says how it is unblocked."],
  badagent: ["has blocked this client", "Ask the service why it does not take updates of Gatehouse."],
  badparam: ["does not understand the question", "Check dyndns2.api."],
  badsys: ["does not understand the question", "Check dyndns2.api."],
};

export function createDyndns2({ url: base, user, password }: Dyndns2Settings): AddressWriter {
  const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
  return {
    kind: "dyndns2",
    async setAddresses(name, { ipv4, ipv6 }, signal) {
      const url = new URL(base);
      url.searchParams.set("hostname", name);
      if (ipv4 !== undefined) url.searchParams.set("myip", ipv4);
      if (ipv6 !== undefined) url.searchParams.set("myipv6", ipv6);
      const { text } = await callWeb(
        {
          provider: PROVIDER,
          hint: "Check dyndns2.api, dyndns2.user and dyndns2.password.",
          url,
          headers: { authorization },
          // Several of them say badauth with 401, and other words with 4xx.
          alsoFine: [400, 401, 403, 404],
        },
        signal,
      );
      judge(name, text, [ipv4, ipv6]);
      return "shown";
    },
  };
}

/** @throws GATEHOUSE_DNS_REFUSED, GATEHOUSE_DNS_FAILED */
function judge(name: string, text: string, wanted: readonly (string | undefined)[]): void {
  const [first = ""] = text.trim().split("\n");
  const [word = "", told = ""] = first
    .trim()
    .toLowerCase()
    .split(/[\s,]+/);
  if (word === "good" || word === "nochg") {
    // `good 127.0.0.1` to somebody who asked for another address: the service did nothing.
    if (told === "127.0.0.1" && isIP(told) !== 0 && !wanted.includes(told)) {
      throw refused(`${PROVIDER} took the change of ${name} and ignores this client`, "Ask the service why.");
    }
    return;
  }
  const refusal = Object.hasOwn(REFUSALS, word) ? REFUSALS[word] : undefined;
  if (refusal !== undefined) throw refused(`${PROVIDER} ${refusal[0]} (${word}): ${name}`, refusal[1]);
  if (word === "911") throw failed(`${PROVIDER} is out of order (911)`, undefined, Date.now() + AFTER_911_MS);
  if (word === "dnserr") throw failed(`${PROVIDER} has trouble with its DNS (dnserr)`);
  throw failed(`${PROVIDER} answered ${quoted(text) || "nothing"}`);
}
