// @hyperledger/identus-sdk 7.0.0 as the client of a mediator: its agent, behind JSON lines. The
// agent registers, makes and binds DIDs, wraps, polls, listens and acknowledges by itself.
"use strict";

const { createRequire } = require("module");
const required = createRequire(process.argv[2] + "/");
const print = console.log;
console.log = console.info = console.warn = console.debug = () => {};
globalThis.WebSocket ??= required("ws");
const { Agent, Apollo, BasicMessage, Domain, ListenerKey, Pluto } = required("@hyperledger/identus-sdk");
const serve = require("./lines.js");
console.log = print;

const PICKUP = "https://didcomm.org/messagepickup/3.0";

// What its storage asks of a store, in memory.
class Store {
  tables = new Map();
  rows = (name) => this.tables.get(name) ?? this.tables.set(name, []).get(name);
  async query(name, { selector } = {}) {
    return this.rows(name).filter((row) => matches(row, selector ?? {}));
  }
  async insert(name, row) {
    this.rows(name).push({ ...row });
  }
  async update(name, row) {
    Object.assign(this.rows(name).find(({ uuid }) => uuid === row.uuid), row);
  }
  async delete(name, uuid) {
    this.tables.set(name, this.rows(name).filter((row) => row.uuid !== uuid));
  }
}

const matches = (row, selector) =>
  Object.entries(selector).every(([name, wanted]) => {
    if (name === "$and") return wanted.every((each) => matches(row, each));
    if (name === "$or") return wanted.some((each) => matches(row, each));
    if (wanted?.$in) return wanted.$in.includes(row[name]);
    return row[name] === (wanted?.$eq ?? wanted);
  });

let agent, mediator, did, live;
const heard = [];
let waiting = null;

const handlers = {
  begin: async (request) => {
    mediator = Domain.DID.fromString(request.mediator);
    live = request.live ?? false;
    agent = Agent.initialize({
      mediatorDID: mediator,
      pluto: new Pluto(new Store(), new Apollo()),
      options: { experiments: { liveMode: live } },
    });
    agent.addListener(ListenerKey.MESSAGE, (messages) => {
      heard.push(...messages.filter(({ piuri }) => piuri === BasicMessage.type));
      waiting?.();
    });
    return null; // the account is made when it registers
  },
  register: async () => {
    await agent.start();
    if (!live) agent.stopFetchingMessages(); // it polls and acknowledges every few seconds
    return agent.connections.mediator.routingDID.toString();
  },
  bind: async () => {
    did = await agent.createNewPeerDID([], true); // raises on a status of 400 or more
    return { did: did.toString(), action: "add", result: "success" };
  },
  write: async ({ text, to }) => {
    const stranger = await agent.createNewPeerDID([], false);
    const recipient = to ? Domain.DID.fromString(to) : did;
    await agent.mercury.sendMessage(
      new BasicMessage({ content: text }, stranger, recipient).makeMessage(),
    );
    return 200; // it raises on anything else
  },
  count: async () => (await ask("status-request", {})).body.message_count,
  fetch: async ({ limit }) => {
    const { attachments } = await ask("delivery-request", { limit });
    return Promise.all(
      attachments.map(async ({ id, data }) => {
        const envelope = data.json ?? data.data ?? JSON.parse(Buffer.from(data.base64, "base64url"));
        const message = await agent.mercury.unpackMessage(
          typeof envelope === "string" ? envelope : JSON.stringify(envelope),
        );
        return { id, text: message.body.content, from: message.from.toString() };
      }),
    );
  },
  acknowledge: async ({ ids }) =>
    (await ask("messages-received", { message_id_list: ids })).body.message_count,
  // By itself: polling, or a socket if it began so; what it heard it has acknowledged.
  collect: async ({ count }) => {
    await agent.startFetchingMessages(100);
    while (heard.length < count) await new Promise((resolve) => (waiting = resolve));
    return heard.splice(0).map(({ body }) => body.content);
  },
  listening: async () => agent.connections.mediator.liveMode,
  leave: async () => agent.stop(),
};

async function ask(type, body) {
  const { hostDID } = agent.connections.mediator.asMediator();
  const message = new Domain.Message(
    JSON.stringify(body), undefined, `${PICKUP}/${type}`, hostDID, mediator, [], undefined,
    { return_route: "all" },
  );
  return agent.mercury.sendMessageParseMessage(message);
}

serve(handlers);
