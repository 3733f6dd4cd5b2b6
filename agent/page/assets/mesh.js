// The mesh as a drawing, and the same as a list with all that is known of each path.

import { h, plain, svg } from "./dom.js";

const SIZE = { width: 420, height: 300 };
const KINDS = { direct: "direct", relay: "relayed", degraded: "relayed over a stream", none: "no path" };

// parties: [{did, name}], ours among them; paths: did -> facts
export function drawMesh(parties, me, paths) {
  const places = around(parties);
  const title = `The mesh: ${parties.length} parties`;
  return h("div", { class: "mesh" },
    svg("svg", { viewBox: `0 0 ${SIZE.width} ${SIZE.height}`, role: "img", "aria-labelledby": "mesh-title mesh-desc" },
      svg("title", { id: "mesh-title" }, title),
      svg("desc", { id: "mesh-desc" }, describe(parties, me, paths)),
      lines(places, me, paths),
      places.map(({ x, y, party, rank }) => node(x, y, party, rank, party.did === me))),
    legend(parties, me, paths),
    list(parties, me, paths));
}

// Only what is in the picture: a sample of each kind of line.
function legend(parties, me, paths) {
  const kinds = new Set([...paths.values()].map(kindOf));
  const samples = [["direct", "direct"], ["relay", "relayed"], ["degraded", "relayed over a stream, slow"]]
    .filter(([kind]) => kinds.has(kind));
  if (parties.some(({ did }) => did !== me && kindOf(paths.get(did)) === "missing")) samples.push(["missing", "no path yet"]);
  if (parties.length > 2) samples.push(["others", "between others, who alone know it"]);
  return h("ul", { class: "legend hint", "aria-hidden": "true" }, samples.map(([kind, words]) =>
    h("li", {}, svg("svg", { viewBox: "0 0 36 8", width: 36, height: 8 },
      svg("line", { x1: 0, y1: 4, x2: 36, y2: 4, class: `line ${kind}` })), words)));
}

function around(parties) {
  const [cx, cy, r] = [SIZE.width / 2, SIZE.height / 2, 105];
  return parties.map((party, rank) => {
    const angle = (2 * Math.PI * rank) / parties.length - Math.PI / 2;
    return { x: cx + 1.25 * r * Math.cos(angle), y: cy + r * Math.sin(angle), party, rank };
  });
}

function lines(places, me, paths) {
  const drawn = [], labels = [];
  places.forEach((one, rank) => places.slice(rank + 1).forEach((other) => {
    const far = [one, other].find(({ party }) => party.did !== me);
    const ours = [one, other].some(({ party }) => party.did === me);
    const path = ours ? paths.get(far.party.did) : null;
    const kind = ours ? kindOf(path) : "others";
    drawn.push(svg("line", { x1: one.x, y1: one.y, x2: other.x, y2: other.y, class: `line ${kind}` }));
    if (path && kind !== "missing") labels.push(label((one.x + other.x) / 2, (one.y + other.y) / 2, path));
  }));
  return [...drawn, ...labels];
}

function label(x, y, path) {
  const second = path.kind === "direct" ? null : path.kind === "relay" ? "relayed" : "stream";
  const height = second ? 36 : 22, width = second ? 70 : 60;
  return svg("g", { class: "rtt" },
    svg("rect", { x: x - width / 2, y: y - height / 2, width, height, rx: 11 }),
    svg("text", { x, y: second ? y - 3 : y + 4.5, "text-anchor": "middle" }, rtt(path)),
    second && svg("text", { x, y: y + 12, "text-anchor": "middle" }, second));
}

function node(x, y, party, rank, ours) {
  const name = named(party);
  return svg("g", { class: ours ? "node ours" : "node" },
    svg("circle", { cx: x, cy: y, r: 20 }),
    svg("text", { x, y: y + 5, "text-anchor": "middle", class: "rank" }, String(rank)),
    svg("text", { x, y: y > SIZE.height / 2 ? y + 38 : y - 28, "text-anchor": "middle", class: "name" },
      name));
}

// As much of a name as there is room for; of a DID, the end tells it from others.
function named(party) {
  const name = plain(party.name);
  if (name.startsWith("did:")) return `…${name.slice(-6)}`;
  return name.length > 16 ? `${name.slice(0, 15)}…` : name;
}

function list(parties, me, paths) {
  return h("ul", { class: "seats" }, parties.filter((party) => party.did !== me).map((party) => {
    const path = paths.get(party.did), found = kindOf(path) !== "missing";
    const why = path?.why && `${plain(path.why)}${again(path)}`;
    return h("li", { class: kindOf(path) === "direct" ? "ready" : "" },
      h("span", { class: "who" }, plain(party.name)),
      h("span", { class: "stage" }, found ? `${wordsOf(path)}, ${rtt(path)}` : wordsOf(path)),
      (path?.endpoint || why) && h("span", { class: "hint wholeline" },
        path.endpoint && h("code", {}, plain(path.endpoint)), why && `${path.endpoint ? ": " : ""}${why}`));
  }));
}

function again(path) {
  const wait = path.next_try ? path.next_try - Date.now() / 1000 : 0;
  return wait > 0 ? `; tries again in ${Math.ceil(wait)} s` : "";
}

const kindOf = (path) => (path && path.kind !== "none" ? path.kind : "missing");
const wordsOf = (path) => (path ? `${KINDS[path.kind] ?? plain(path.kind)}${path.by ? ` (${plain(path.by)})` : ""}` : "no path yet");

// All of a path that is drawn, to see whether it must be drawn anew.
export const shownOf = (path) => [kindOf(path), path.endpoint, rtt(path), path.why, path.by, path.next_try];

// Through the mesh, where that is measured; else what the path's checks took.
function rtt(path) {
  const ms = path.mesh_rtt_ms ?? path.rtt_ms;
  return ms === undefined ? "–" : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

// The picture in words, for who does not see it.
function describe(parties, me, paths) {
  return parties.filter((party) => party.did !== me).map((party) => {
    const path = paths.get(party.did);
    const how = kindOf(path) === "missing" ? "" : `, ${rtt(path)}`;
    return `You to ${plain(party.name)}: ${wordsOf(path)}${how}${path?.why ? `, since ${plain(path.why)}` : ""}.`;
  }).join(" ");
}
