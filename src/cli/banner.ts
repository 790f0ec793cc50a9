/**
 * What does a person at the terminal want to know first?
 * Owns: the few lines after a start: the URL, a curl line that works as printed, the CA file, the way to a real name.
 * Never: says them to a log collector that did not ask (they go to standard error).
 */

export interface BannerFacts {
  configFile: string;
  httpsPort: number;
  httpPort: number;
  /** Site names, the first one is shown. */
  sites: readonly string[];
  /** PEM file of the embedded CA's root; undefined with any other CA. */
  caRootFile: string | undefined;
}

/** A path as a shell reads it back. */
function shellQuote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

export function banner(facts: BannerFacts): string {
  const name = facts.sites.find((site) => !site.startsWith("*."));
  if (name === undefined) return "";
  const url = `https://${name}${facts.httpsPort === 443 ? "" : `:${facts.httpsPort}`}/`;
  const lines = ["", `  Gatehouse serves ${url}`];
  if (facts.caRootFile !== undefined) {
    // `--resolve` because not every resolver knows that *.localhost is this machine (RFC 6761 §6.3 only recommends it).
    lines.push(
      "",
      "  Try it:",
      `    curl --resolve ${name}:${facts.httpsPort}:127.0.0.1 --cacert ${shellQuote(facts.caRootFile)} ${url}`,
      "",
      "  Its certificate comes from Gatehouse's own CA. Browsers trust it once this file is imported as an authority:",
      `    ${facts.caRootFile}`,
      "",
      `  For a real name, change three lines in ${facts.configFile}:`,
      '    listen: { https: ":443", http: ":80" }      the ports your router forwards 443 and 80 to',
      "    acme: { ca: letsencrypt }                   instead of local",
      "    myhome.duckdns.org: 192.168.0.200:8123      your name and the machine inside, below sites:",
    );
  }
  lines.push("", "");
  return lines.join("\n");
}
