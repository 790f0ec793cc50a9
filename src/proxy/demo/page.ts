/**
 * How does the sample target show what it saw?
 * Owns: one self-contained page: no request but its own, light and dark, readable on a phone.
 * Never: writes a header unescaped: every one of them was chosen by a stranger.
 */

const STYLE = `
:root{color-scheme:light dark;--ink:#1d2733;--soft:#5d6b7a;--line:#dfe5ec;--card:#fff;--ground:#f3f6f9;--mark:#0b7a5f}
@media(prefers-color-scheme:dark){:root{--ink:#e7edf3;--soft:#93a1b0;--line:#2b3743;--card:#18212a;--ground:#10161c;--mark:#4fd1ac}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:46rem;margin:0 auto;padding:2rem 1rem 3rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1rem;margin:0 0 .75rem}
.lead{color:var(--soft);margin:.25rem 0 1.5rem}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1rem 1.1rem;margin:0 0 1rem}
dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.35rem 1rem;margin:0}
dt{color:var(--soft);overflow-wrap:anywhere}dd{margin:0;font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.875rem;overflow-wrap:anywhere;align-self:center}
.facts dd{font-size:1rem}
form{display:flex;gap:.5rem;margin:0 0 .75rem}
input{flex:1;min-width:0;font:inherit;color:inherit;background:var(--ground);border:1px solid var(--line);border-radius:8px;padding:.5rem .7rem}
button{font:inherit;border:0;border-radius:8px;padding:.5rem 1rem;background:var(--mark);color:var(--card);cursor:pointer}
button:disabled{opacity:.5}
#state{font-weight:400;color:var(--soft)}#state.open{color:var(--mark)}
ol{list-style:none;margin:0;padding:0;font-family:ui-monospace,Menlo,Consolas,monospace;font-size:.875rem}
li{padding:.2rem 0;border-top:1px solid var(--line);overflow-wrap:anywhere}li:empty{display:none}
@media(max-width:32rem){dl:not(.facts){grid-template-columns:1fr;gap:0}dl:not(.facts) dd{margin-bottom:.5rem}}
`;

/** Relative addresses only, so that it works below a path prefix too. */
const SCRIPT = `
const state=document.getElementById("state"),log=document.getElementById("log"),form=document.querySelector("form"),
input=form.querySelector("input"),button=form.querySelector("button");
const say=(text)=>{const li=document.createElement("li");li.textContent=text;log.prepend(li);while(log.children.length>8)log.lastChild.remove()};
let sentAt=0;
const address=new URL("ws",location.href);address.protocol=location.protocol==="https:"?"wss:":"ws:";address.search="";
const socket=new WebSocket(address);
socket.onopen=()=>{state.textContent="open";state.className="open";button.disabled=false;sentAt=performance.now();socket.send("hello")};
socket.onmessage=(event)=>say(event.data+"  ("+(performance.now()-sentAt).toFixed(1)+" ms)");
socket.onclose=(event)=>{state.textContent="closed ("+event.code+")";state.className="";button.disabled=true};
form.onsubmit=(event)=>{event.preventDefault();sentAt=performance.now();socket.send(input.value||"hello");input.value=""};
`;

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

const row = (name: string, value: string): string => `<dt>${escaped(name)}</dt><dd>${escaped(value)}</dd>`;

export function demoPage(seen: {
  method: string;
  path: string;
  clientAddress: string;
  headers: readonly (readonly [string, string])[];
}): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<link rel="icon" href="data:,">
<title>Gatehouse: the way works</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>The way works</h1>
<p class="lead">This is the built-in sample target. It shows what a machine behind Gatehouse sees of your request.</p>
<section>
<h2>Request</h2>
<dl class="facts">${row("Method", seen.method)}${row("Path", seen.path)}${row("Your address", seen.clientAddress)}</dl>
</section>
<section>
<h2>WebSocket echo: <span id="state" role="status">connecting</span></h2>
<form><input aria-label="Message" placeholder="Say something" autocomplete="off"><button disabled>Send</button></form>
<ol id="log" aria-live="polite"></ol>
</section>
<section>
<h2>Headers</h2>
<dl>${seen.headers.map(([name, value]) => row(name, value)).join("")}</dl>
</section>
</main>
<script>${SCRIPT}</script>
</body>
</html>
`;
}
