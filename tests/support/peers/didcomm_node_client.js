// npm didcomm-node 0.4.1 as the client of a mediator, behind JSON lines. The library seals,
// opens and wraps; DIDs, HTTP and the WebSocket are this driver's.
"use strict";

const { createRequire } = require("module");
const required = createRequire(process.argv[2] + "/");
const { Message } = required("didcomm-node");
const WebSocket = required("ws");
const peerDid = require("./peer_did.js");
const serve = require("./lines.js");

const PICKUP = "https://didcomm.org/messagepickup/3.0";
const MEDIATION = "https://didcomm.org/coordinate-mediation";
const WORDS = {
  "2.0": ["keylist-update", "keylist-query", "keys"],
  "3.0": ["recipient-update", "recipient-query", "dids"],
};

const secrets = new Map();
const resolver = { resolve: async (did) => peerDid.resolve(did) };
const keys = {
  get_secret: async (id) => secrets.get(id) ?? null,
  find_secrets: async (ids) => ids.filter((id) => secrets.has(id)),
};
const party = (uri) => {
  const { did, secrets: own } = demo
    ? peerDid.create4(uri)
    : peerDid.create({ t: "dm", s: { uri, a: ["didcomm/v2"], r: [] } });
  for (const secret of own) secrets.set(secret.id, secret);
  return did;
};

// The habits of the DIF's didcomm-demo: did:peer:4, milliseconds, and never a `return_route`.
let demo = false;
let mediator, version, account, bound, http, ws, socket;
const frames = [];
let waiting = null;

const handlers = {
  begin: async (request) => {
    ({ mediator, version } = request);
    demo = request.demo ?? false;
    const uris = peerDid.resolve(mediator).service.map((service) => service.serviceEndpoint.uri);
    http = uris.find((uri) => uri.startsWith("http"));
    ws = uris.find((uri) => uri.startsWith("ws"));
    account = party("didcomm:transport/queue");
    return account;
  },
  register: async () => {
    const { body } = await ask(`${MEDIATION}/${version}/mediate-request`, {});
    return body.routing_did;
  },
  bind: async () => {
    bound = party(mediator);
    const updates = [{ recipient_did: bound, action: "add" }];
    const { body } = await ask(`${MEDIATION}/${version}/${WORDS[version][0]}`, { updates });
    return { did: bound, ...body.updated[0] };
  },
  bound: async () => {
    const [, query, list] = WORDS[version];
    const { body } = await ask(`${MEDIATION}/${version}/${query}`, {});
    return body[list].map((entry) => entry.recipient_did);
  },
  write: async ({ text, to }) => {
    const stranger = party("didcomm:transport/queue");
    const message = build("https://didcomm.org/basicmessage/2.0/message", { content: text }, stranger, to ?? bound);
    const [envelope, meta] = await message.pack_encrypted(to ?? bound, stranger, null, resolver, keys, {});
    return (await post(envelope, meta.messaging_service.service_endpoint)).status;
  },
  count: async () => (await ask(`${PICKUP}/status-request`, {})).body.message_count,
  fetch: async ({ limit }) => opened(await ask(`${PICKUP}/delivery-request`, { limit })),
  acknowledge: async ({ ids }) =>
    (await ask(`${PICKUP}/messages-received`, { message_id_list: ids })).body.message_count,
  go_live: async () => {
    socket = new WebSocket(ws);
    socket.on("message", (data) => {
      frames.push(data.toString());
      waiting?.();
    });
    await new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject));
    socket.send(await seal(`${PICKUP}/live-delivery-change`, { live_delivery: true }));
    const { body } = await open(await frame());
    return { count: body.message_count, live: body.live_delivery };
  },
  pushed: async () => (await opened(await open(await frame())))[0],
  leave: async () => socket?.terminate(),
};

const build = (type, body, from, to) =>
  new Message({
    id: crypto.randomUUID(),
    typ: "application/didcomm-plain+json",
    type,
    body,
    from,
    to: [to],
    ...(demo
      ? { created_time: Date.now() }
      : { created_time: Math.floor(Date.now() / 1000), return_route: "all" }),
  });

const seal = async (type, body) =>
  (await build(type, body, account, mediator).pack_encrypted(mediator, account, null, resolver, keys, { forward: false }))[0];

const open = async (envelope) => (await Message.unpack(envelope, resolver, keys, {}))[0].as_value();

const post = (envelope, url) =>
  fetch(url, {
    method: "POST",
    headers: { "content-type": "application/didcomm-encrypted+json" },
    body: envelope,
  });

async function ask(type, body) {
  const response = await post(await seal(type, body), http);
  const text = await response.text();
  if (!text) throw new Error(`status ${response.status} and no answer to ${type}`);
  const answer = await open(text);
  if (answer.type.endsWith("problem-report")) throw new Error(JSON.stringify(answer.body));
  return answer;
}

async function frame() {
  if (!frames.length) await new Promise((resolve) => (waiting = resolve));
  return frames.shift();
}

const opened = async ({ attachments }) =>
  Promise.all(
    (attachments ?? []).map(async ({ id, data }) => {
      const message = await open(JSON.stringify(data.json));
      return { id, text: message.body.content, from: message.from };
    }),
  );

serve(handlers);
