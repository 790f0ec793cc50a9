/**
 * How does a result look at a glance?
 * Owns: an SVG of bars, one panel for each scenario, made from the JSON of a run and from nothing else.
 * Never: cuts an axis: every bar begins at zero, and the longest fills its panel.
 */
import type { BenchResult, RivalResult, ScenarioResult } from "./report.ts";

const WIDTH = 880;
const COLUMNS = 2;
const MARGIN = 24;
const PANEL = { width: (WIDTH - MARGIN * (COLUMNS + 1)) / COLUMNS, head: 30, bar: 18, gap: 5, foot: 18 };
const NAME_WIDTH = 78;
const FIGURE_WIDTH = 76;
const TOP = 64;

const TITLES: Readonly<Record<string, string>> = {
  "small-h1": "Small GET, HTTP/1.1",
  "small-h2": "Small GET, HTTP/2",
  "64kb-h1": "64 KB answer, HTTP/1.1",
  page: "Page of 100 assets, HTTP/2",
  download: "10 MB downloads",
  upload: "10 MB uploads",
  "handshake-full": "Full TLS handshake",
  "handshake-resumed": "Resumed TLS handshake",
  websocket: "WebSocket message and echo",
  forward: "Forwarded TCP port, both directions",
  idle: "Idle TLS connection",
};

const STYLE = `
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 17px; font-weight: 600 }
.panel { font-weight: 600 }
.quiet { fill: #6e7781; font-size: 12px }
.own { fill: #1a7f64 }
.other { fill: #afb8c1 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .quiet { fill: #8d96a0 }
  .own { fill: #3fb68b }
  .other { fill: #57606a }
}`;

export function pictureOf(result: BenchResult): string {
  const shown = result.scenarios.filter(({ name }) => name in TITLES);
  const rows: ScenarioResult[][] = [];
  for (let at = 0; at < shown.length; at += COLUMNS) rows.push(shown.slice(at, at + COLUMNS));
  const parts: string[] = [];
  let y = TOP;
  for (const row of rows) {
    row.forEach((scenario, column) => parts.push(panel(scenario, MARGIN + column * (PANEL.width + MARGIN), y)));
    y += Math.max(...row.map(heightOf));
  }
  const { machine, date, options } = result;
  const versions = (shown[0]?.rivals ?? []).map(({ name, version }) => `${name} ${version}`).join(", ");
  const height = y + 36;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escaped(summaryOf(shown))}">
<style>${STYLE}</style>
<text class="title" x="${MARGIN}" y="30">What one of each costs the proxy (CPU time; memory for idle): shorter is better</text>
<text class="quiet" x="${MARGIN}" y="50">one core, TLS 1.3, same certificate and target, access log on; medians of ${options.rounds} rounds</text>
${parts.join("\n")}
<text class="quiet" x="${MARGIN}" y="${y + 2}">${escaped(versions)}</text>
<text class="quiet" x="${MARGIN}" y="${y + 20}">${escaped(`${date.slice(0, 10)}, ${machine.cpu}, Linux ${machine.kernel}, Node ${machine.node}`)}</text>
</svg>
`;
}

const heightOf = ({ rivals }: ScenarioResult): number =>
  PANEL.head + rivals.length * (PANEL.bar + PANEL.gap) + PANEL.foot;

function panel(scenario: ScenarioResult, x: number, y: number): string {
  const longest = Math.max(...scenario.rivals.map(({ median }) => median.cost), Number.MIN_VALUE);
  const room = PANEL.width - NAME_WIDTH - FIGURE_WIDTH;
  const bars = scenario.rivals.map((rival, index) => {
    const top = y + PANEL.head + index * (PANEL.bar + PANEL.gap);
    const length = Math.max(1, (rival.median.cost / longest) * room);
    const middle = top + PANEL.bar - 5;
    return (
      `<text x="${x}" y="${middle}">${escaped(rival.name)}</text>` +
      `<rect class="${rival.name === "gatehouse" ? "own" : "other"}" x="${x + NAME_WIDTH}" y="${top}" ` +
      `width="${length.toFixed(1)}" height="${PANEL.bar}" rx="2"/>` +
      `<text x="${(x + NAME_WIDTH + length + 6).toFixed(1)}" y="${middle}">${figure(rival)}</text>`
    );
  });
  const title = `<tspan class="panel">${escaped(TITLES[scenario.name] ?? scenario.name)}</tspan>`;
  return `<text x="${x}" y="${y + 18}">${title} <tspan class="quiet">${escaped(scenario.unit)}</tspan></text>\n${bars.join("\n")}`;
}

const figure = ({ median: { cost } }: RivalResult): string => (cost < 10 ? cost.toFixed(1) : cost.toFixed(0));

/** For who cannot see it. */
const summaryOf = (scenarios: readonly ScenarioResult[]): string =>
  scenarios
    .map(
      ({ name, unit, rivals }) =>
        `${TITLES[name] ?? name}, ${unit}: ${rivals.map((one) => `${one.name} ${figure(one)}`).join(", ")}`,
    )
    .join(". ");

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
