// @veramo/* 7.0.1 as a mediator: an agent of its plugins behind HTTP, as its documentation puts
// them together. Prints where it is as a line of JSON.
//
//   node veramo_mediator.mjs FOLDER-OF-NODE_MODULES [postgresql://…]
//
// Without a database its store is sql.js: SQLite in memory, never written to disk. Its authcrypt is
// a draft's, so who shall get mail is told to it by POST /recipients, beside the protocol.

import { createServer } from "http";
import { createRequire } from "module";
import { pathToFileURL } from "url";

const [folder, database] = process.argv.slice(2);
const required = createRequire(folder + "/package.json");
// Its packages export to `import` alone, which `require.resolve` does not look at.
const load = async (name) => import(pathToFileURL(`${folder}/node_modules/${name}/build/index.js`));

const { createAgent } = await load("@veramo/core");
const { KeyManager, MemoryKeyStore, MemoryPrivateKeyStore } = await load("@veramo/key-manager");
const { KeyManagementSystem } = await load("@veramo/kms-local");
const { DIDManager, MemoryDIDStore } = await load("@veramo/did-manager");
const { PeerDIDProvider, getResolver } = await load("@veramo/did-provider-peer");
const { DIDResolverPlugin } = await load("@veramo/did-resolver");
const { MessageHandler } = await load("@veramo/message-handler");
const { MediationManagerPlugin } = await load("@veramo/mediation-manager");
const kv = await load("@veramo/kv-store");
const data = await load("@veramo/data-store");
const veramo = await load("@veramo/did-comm");
const { Resolver } = required("did-resolver");
const { DataSource } = required("typeorm");

const source = await new DataSource({
  ...(database ? { type: "postgres", url: database } : { type: "sqljs", driver: required("sql.js") }),
  entities: [...data.Entities, ...kv.Entities],
  migrations: [...data.migrations, ...kv.kvStoreMigrations],
  migrationsRun: true,
}).initialize();

const values = (namespace) =>
  new kv.KeyValueStore({
    namespace,
    store: new kv.KeyValueTypeORMStoreAdapter({ dbConnection: source, namespace }),
  });

const agent = createAgent({
  plugins: [
    new KeyManager({
      store: new MemoryKeyStore(),
      kms: { local: new KeyManagementSystem(new MemoryPrivateKeyStore()) },
    }),
    new DIDManager({
      store: new MemoryDIDStore(),
      defaultProvider: "did:peer",
      providers: { "did:peer": new PeerDIDProvider({ defaultKms: "local" }) },
    }),
    new DIDResolverPlugin({ resolver: new Resolver(getResolver()) }),
    new data.DataStore(source),
    new data.DataStoreORM(source),
    new MessageHandler({
      messageHandlers: [
        new veramo.DIDCommMessageHandler(),
        new veramo.TrustPingMessageHandler(),
        new veramo.CoordinateMediationV3MediatorMessageHandler(),
        new veramo.RoutingMessageHandler(),
        new veramo.PickupMediatorMessageHandler(),
      ],
    }),
    new veramo.DIDComm({ transports: [new veramo.DIDCommHttpTransport()] }),
    new MediationManagerPlugin(true, ...["policy", "mediation", "recipient"].map(values)),
  ],
});

const routes = {
  "/": async (raw) => {
    const message = await agent.handleMessage({ raw, save: false });
    const answer = message.metaData?.find(({ type }) => type === "ReturnRouteResponse")?.value;
    return answer ? JSON.parse(answer).message : "";
  },
  "/recipients": async (did) => {
    await agent.mediationManagerSaveMediation({ requesterDid: did, status: "GRANTED" });
    await agent.mediationManagerAddRecipientDid({ requesterDid: did, recipientDid: did });
    return "";
  },
  "/kept": async () => {
    const where = [{ column: "type", value: ["https://didcomm.org/routing/2.0/forward/queue-message"], op: "Equal" }];
    return String(await agent.dataStoreORMGetMessagesCount({ where }));
  },
};

const server = createServer(async (request, response) => {
  try {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    response.end(await routes[request.url](Buffer.concat(chunks).toString()));
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
});

server.listen(0, "127.0.0.1", async () => {
  const http = `http://127.0.0.1:${server.address().port}`;
  const service = { type: "DIDCommMessaging", serviceEndpoint: { uri: http, accept: ["didcomm/v2"] } };
  const { did } = await agent.didManagerCreate({ options: { num_algo: 2, service } });
  console.log(JSON.stringify({ did, http, recipients: `${http}/recipients`, kept: `${http}/kept` }));
});
