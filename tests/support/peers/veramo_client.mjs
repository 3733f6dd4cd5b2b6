// @veramo/* 7.0.1 as the client of a mediator: an agent of its plugins, behind JSON lines. They
// make DIDs, resolve, seal, wrap, post, open and acknowledge; it has no WebSocket.

import { createRequire } from "module";
import { pathToFileURL } from "url";

const required = createRequire(process.argv[2] + "/package.json");
const load = async (name) => import(pathToFileURL(resolved(name)));
// Its packages export to `import` alone, which `require.resolve` does not look at.
const resolved = (name) => `${process.argv[2]}/node_modules/${name}/build/index.js`;

const { createAgent } = await load("@veramo/core");
const { KeyManager, MemoryKeyStore, MemoryPrivateKeyStore } = await load("@veramo/key-manager");
const { KeyManagementSystem } = await load("@veramo/kms-local");
const { DIDManager, MemoryDIDStore } = await load("@veramo/did-manager");
const { PeerDIDProvider, getResolver } = await load("@veramo/did-provider-peer");
const { DIDResolverPlugin } = await load("@veramo/did-resolver");
const { MessageHandler } = await load("@veramo/message-handler");
const veramo = await load("@veramo/did-comm");
const { Resolver } = required("did-resolver");
const { default: serve } = await import("./lines.js");

const keys = new MemoryKeyStore();
const privateKeys = new MemoryPrivateKeyStore();
const dids = new MemoryDIDStore();
const heard = [];

// Both are one and the same party; the second one acknowledges what it is delivered.
const [agent, collecting] = [[], [new veramo.PickupRecipientMessageHandler()]].map((handlers) =>
  createAgent({
    plugins: [
      new KeyManager({ store: keys, kms: { local: new KeyManagementSystem(privateKeys) } }),
      new DIDManager({
        store: dids,
        defaultProvider: "did:peer",
        providers: { "did:peer": new PeerDIDProvider({ defaultKms: "local" }) },
      }),
      new DIDResolverPlugin({ resolver: new Resolver(getResolver()) }),
      new MessageHandler({
        messageHandlers: [new veramo.DIDCommMessageHandler(), ...handlers],
      }),
      new veramo.DIDComm({ transports: [new veramo.DIDCommHttpTransport()] }),
      {
        eventTypes: ["DIDCommV2Message-received"],
        onEvent: async ({ data }) => heard.push(data.message),
      },
    ],
  }),
);

let mediator, version, account;

const party = async (uri) =>
  (
    await agent.didManagerCreate({
      options: {
        num_algo: 2,
        service: {
          type: "DIDCommMessaging",
          serviceEndpoint: { uri, accept: ["didcomm/v2"] },
        },
      },
    })
  ).did;

const handlers = {
  begin: async (request) => {
    ({ mediator, version } = request);
    return (account = await party(mediator));
  },
  register: async () => {
    const create =
      version === "3.0" ? veramo.createV3MediateRequestMessage : veramo.createMediateRequestMessage;
    return (await ask(create(account, mediator))).data.routing_did;
  },
  // Its 2.0 knows no keylist: whoever is granted mediation counts on mail for the DID that asked.
  bind: async () => {
    if (version === "2.0") return { did: account, action: "add", result: "success" };
    const updates = [{ recipient_did: account, action: "add" }];
    const { data } = await ask(veramo.createV3RecipientUpdateMessage(account, mediator, updates));
    return { did: account, ...data.updated[0] };
  },
  bound: async () => {
    if (version === "2.0") return [account];
    const { data } = await ask(veramo.createV3RecipientQueryMessage(account, mediator));
    return data.dids.map((entry) => entry.recipient_did);
  },
  write: async ({ text, to }) => {
    const stranger = await party("didcomm:transport/queue");
    await send({
      id: crypto.randomUUID(),
      type: "https://didcomm.org/basicmessage/2.0/message",
      from: stranger,
      to: [to ?? account],
      created_time: new Date().toISOString(),
      body: { content: text },
    });
    return 200; // it raises on an answer that is not 2xx
  },
  count: async () =>
    (await ask(veramo.createV3StatusRequestMessage(account, mediator))).data.message_count,
  fetch: async ({ limit }) => {
    const request = veramo.createV3DeliveryRequestMessage(account, mediator);
    const { attachments } = await ask({ ...request, body: { limit } });
    return Promise.all(
      (attachments ?? []).map(async ({ id, data }) => {
        const { message } = await agent.unpackDIDCommMessage({ message: JSON.stringify(data.json) });
        return { id, text: message.body.content, from: message.from };
      }),
    );
  },
  fetch_all: async () => {
    heard.length = 0;
    await ask(veramo.createV3DeliveryRequestMessage(account, mediator), collecting);
    return heard.filter(({ body }) => body.content).map(({ body }) => body.content);
  },
  acknowledge: async ({ ids }) => {
    const answer = await ask({
      id: crypto.randomUUID(),
      type: veramo.MESSAGES_RECEIVED_MESSAGE_TYPE ?? "https://didcomm.org/messagepickup/3.0/messages-received",
      from: account,
      to: [mediator],
      created_time: new Date().toISOString(),
      return_route: "all",
      body: { message_id_list: ids },
    });
    return answer.data.message_count;
  },
  leave: async () => null,
};

async function ask(message, as = agent) {
  const { returnMessage } = await send(message, as);
  if (!returnMessage) throw new Error(`no answer to ${message.type}`);
  if (returnMessage.type.endsWith("problem-report")) {
    throw new Error(JSON.stringify(returnMessage.data));
  }
  return returnMessage;
}

async function send(message, as = agent) {
  const packedMessage = await as.packDIDCommMessage({ packing: "authcrypt", message });
  const [recipientDidUrl] = message.to;
  return as.sendDIDCommMessage({ packedMessage, messageId: message.id, recipientDidUrl });
}

serve(handlers);
