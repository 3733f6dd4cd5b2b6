// Who we are: an identity made once, and what others need of it.

import { ask, post } from "./api.js";
import { copyButton, field, form, h, plain, trouble } from "./dom.js";
import { qrOf } from "./qr.js";

const LOBBY = "/i/?";  // in a link: before it stands the mediator's address

// For who has none. `made` is told the link that was typed in place of a mediator, if it was one.
export function newIdentityView(made) {
  const secret = (name) => h("input", { name, type: "password", required: true, autocomplete: "new-password" });
  const passphrase = secret("passphrase"), again = secret("again");
  const unsealed = h("input", { type: "checkbox", name: "unencrypted" });
  unsealed.addEventListener("change", () => {
    for (const input of [passphrase, again]) input.disabled = unsealed.checked;
  });
  return [
    h("h1", {}, "Welcome"),
    h("p", { class: "lead" }, "You have no identity on this machine yet. It is made here: keys, which stay here, and a DID, the name that you give to others."),
    h("section", { class: "card narrow", "aria-labelledby": "new" },
      h("h2", { id: "new" }, "Make your identity"),
      form({ autocomplete: "off" }, async (data) => {
        const given = data.get("mediator").trim();
        if (!unsealed.checked && passphrase.value !== again.value) throw new Error("the two passphrases differ");
        await post("create", { mediator: given.split(LOBBY)[0], passphrase: passphrase.value, unencrypted: unsealed.checked });
        made(given.includes(LOBBY) ? given : "");
      },
        field("Mediator, or the link that you were sent", h("input", {
          name: "mediator", required: true, autocomplete: "off", inputmode: "url", autocapitalize: "off", spellcheck: "false", placeholder: "https://mediator.example",
        }), "A mediator keeps your mail while you are away, and cannot read it. Others may use another one."),
        field("Passphrase", passphrase, "Opens your keys. Nobody can give you another one."),
        field("The same passphrase again", again),
        h("label", { class: "check" }, unsealed, " Keep the keys without a passphrase: whoever has this disk has them"),
        h("p", { class: "actions" }, h("button", {}, "Make it")))),
  ];
}

export async function youView(again) {
  const me = await ask("me");
  const did = h("input", { readonly: true, value: me.did, onfocus: (event) => event.target.select() });
  return [
    h("h1", {}, "You"),
    h("p", { class: "lead" }, "Your DID is no secret. Who has it can write to you and name you as a party; send it by a way on which nobody changes it."),
    h("div", { class: "columns" },
      h("div", {}, h("section", { class: "card", "aria-labelledby": "did" },
        h("h2", { id: "did" }, "Your DID"),
        qrOf(me.did, "Your DID as a QR code"),
        field("As text", did),
        h("p", { class: "actions" }, copyButton(me.did, "your DID")))),
      h("div", {}, h("section", { class: "card", "aria-labelledby": "mail" },
        h("h2", { id: "mail" }, "Your mail"),
        mail(),
        !me.registered && me.mediator && form({}, async () => { await ask("register"); again(); },
          h("p", { class: "actions" }, h("button", {}, "Register there")))))),
  ];
}

// What `agent status` says of our mail; it asks the mediator, so it comes when it comes.
export function mail() {
  const place = h("p", { class: "hint", role: "status" }, "Asking your mediator …");
  ask("status").then(({ mediator }) => place.replaceChildren(plain(words(mediator))),
    (error) => place.replaceWith(trouble(error)));
  return place;
}

function words(mediator) {
  if (mediator === null) return "You have no mediator: nobody can write to you.";
  if (!mediator.reachable) return `Your mediator is not reachable: ${mediator.problem}`;
  if (!mediator.registered) return "Your mediator does not take mail for you: register there, under You.";
  const waiting = mediator.queued;
  return `Your mediator is there; ${waiting === 0 ? "no message waits" : waiting === 1 ? "one message waits" : `${waiting} messages wait`}.`;
}
