// Elements from data. Text is only ever text: nothing here reads markup, whoever wrote it.

const SVG = "http://www.w3.org/2000/svg";

export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(2).filter((child) => child != null && child !== false));
  return element;
}

// Words of others on one line: what would turn letters around or hide them is spelled out.
export function plain(text) {
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}]/gu, (letter) =>
    `\\u{${letter.codePointAt(0).toString(16)}}`);
}

export const short = (did) => {
  const text = plain(did);
  return text.length <= 32 ? text : `${text.slice(0, 24)}…${text.slice(-6)}`;
};

let fields = 0;
export function field(label, control, hint) {
  control.id ||= `field-${++fields}`;
  const about = hint && h("span", { class: "hint", id: `${control.id}-hint` }, hint);
  if (about) control.setAttribute("aria-describedby", about.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, about);
}

export function choice(name, options, attributes = {}) {
  return h("select", { name, ...attributes },
    options.map(([value, words]) => h("option", { value }, words)));
}

export function copyButton(text, what) {
  const button = h("button", { type: "button", class: "quiet", onclick: copy },
    "Copy", h("span", { class: "unseen" }, ` ${what}`));
  async function copy() {
    await navigator.clipboard.writeText(text);
    say(`copied ${what}`);
    button.firstChild.data = "Copied";
    setTimeout(() => { button.firstChild.data = "Copy"; }, 2000);
  }
  return button;
}

// For who cannot see it: said once, politely.
export function say(text) {
  document.getElementById("said").textContent = plain(text);
}

export function trouble(error) {
  return h("div", { class: "trouble", role: "alert" },
    h("p", {}, plain(error.message)), error.hint && h("p", { class: "hint" }, plain(error.hint)));
}

// Runs a form's action; a refusal is shown in the form, and its button waits meanwhile.
export function form(attributes, action, ...children) {
  const element = h("form", { ...attributes, onsubmit: submit }, ...children);
  async function submit(event) {
    event.preventDefault();
    element.querySelector(".trouble")?.remove();
    const buttons = element.querySelectorAll("button");
    buttons.forEach((button) => { button.disabled = true; });
    try {
      await action(new FormData(element, event.submitter), element);
    } catch (error) {
      element.append(trouble(error));
    } finally {
      buttons.forEach((button) => { button.disabled = false; });
    }
  }
  return element;
}
