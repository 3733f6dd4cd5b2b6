// npm didcomm-node 0.4.1 behind JSON lines; see sicpa.py beside this file for the requests.
"use strict";

const readline = require("readline");
const { createRequire } = require("module");
const { FromPrior, Message } = createRequire(process.argv[2] + "/")("didcomm-node");

const ENCRYPTIONS = {
  "A256CBC-HS512": "A256cbcHs512EcdhEsA256kw",
  "A256GCM": "A256gcmEcdhEsA256kw",
  "XC20P": "Xc20pEcdhEsA256kw",
};

const documents = new Map();
let secrets = new Map();
const resolver = { resolve: async (did) => documents.get(did) ?? null };
const keys = {
  get_secret: async (id) => secrets.get(id) ?? null,
  find_secrets: async (ids) => ids.filter((id) => secrets.has(id)),
};

const handlers = {
  know: async (request) => {
    for (const document of request.documents) documents.set(document.id, document);
    secrets = new Map(
      request.secrets.map(({ kid, jwk }) => [
        kid,
        { id: kid, type: "JsonWebKey2020", privateKeyJwk: jwk },
      ]),
    );
    return true;
  },

  pack: async (request) => {
    const { prior, ...value } = request.message;
    if (prior) {
      const { kid, ...claims } = prior;
      value.from_prior = (await new FromPrior(claims).pack(kid ?? null, resolver, keys))[0];
    }
    const [envelope] = await new Message(value).pack_encrypted(
      request.to,
      request.sender ?? null,
      request.sign_by ?? null,
      resolver,
      keys,
      {
        forward: false,
        protect_sender: request.protect_sender ?? false,
        enc_alg_anon: ENCRYPTIONS[request.encryption ?? "A256GCM"],
      },
    );
    return envelope;
  },

  sign: async (request) =>
    (await new Message(request.message).pack_signed(request.sign_by, resolver, keys))[0],

  unpack: async (request) => {
    const [message, meta] = await Message.unpack(request.envelope, resolver, keys, {});
    return {
      message: message.as_value(),
      authenticated: meta.authenticated,
      signed: meta.non_repudiation,
      sender_kid: meta.encrypted_from_kid ?? null,
      signer_kid: meta.sign_from ?? null,
    };
  },

  forward: async (request) =>
    Message.wrap_in_forward(
      request.envelope,
      {},
      request.to,
      request.routing_keys,
      ENCRYPTIONS[request.encryption ?? "A256GCM"],
      resolver,
    ),

  measure: async ({ request, count }) => {
    const start = process.cpuUsage();
    for (let i = 0; i < count; i++) await handlers[request.op](request);
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1e6 / count;
  },
};

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    let answer;
    try {
      answer = { result: await handlers[request.op](request) };
    } catch (error) {
      answer = { error: String(error?.message ?? error) };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
}

main();
