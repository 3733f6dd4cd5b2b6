// Text as a QR code, for phones to carry it.

import { post } from "./api.js";
import { h, svg, trouble } from "./dom.js";

export function qrOf(text, label) {
  const drawing = h("div", { class: "qr" });
  post("qr", { text }).then(({ rows }) => drawing.append(drawn(rows, label)),
    (error) => drawing.replaceWith(trouble(error)));
  return drawing;
}

function drawn(rows, label) {
  const quiet = 2, size = rows.length + 2 * quiet;
  const dark = rows.flatMap((row, y) => [...row].map((cell, x) =>
    cell === "1" ? `M${x + quiet} ${y + quiet}h1v1h-1z` : ""));
  return svg("svg", { viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": label, "shape-rendering": "crispEdges" },
    svg("path", { d: dark.join(""), fill: "#000" }));
}
