/**
 * Is a name wanted, by the word of the operator's own program?
 * Owns: one question over HTTP: `GET URL?domain=NAME`; 200 is yes, everything else is no. Caddy asks the same way.
 * Never: decides what follows, and never follows a redirect.
 */
const WITHIN_MS = 5_000;

/** @throws when there is no answer in time, or one of 500 and above: then it is not known */
export async function askWhetherWanted(url: string, name: string): Promise<boolean> {
  const asked = new URL(url);
  asked.searchParams.set("domain", name);
  const answer = await fetch(asked, { redirect: "manual", signal: AbortSignal.timeout(WITHIN_MS) });
  await answer.body?.cancel();
  if (answer.status >= 500) throw new Error(`it answered ${answer.status}`);
  return answer.status === 200;
}
