// did:peer:2, and did:peer:4 of one's own, for libraries that bring no DID method.
"use strict";

const { createHash, generateKeyPairSync } = require("crypto");

const ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const CODECS = { X25519: [0xec, 1], Ed25519: [0xed, 1] };

exports.create = (service) => {
  const pairs = ["x25519", "ed25519"].map((name) =>
    generateKeyPairSync(name).privateKey.export({ format: "jwk" }),
  );
  const [encryption, signing] = pairs.map(multikey);
  const encoded = Buffer.from(JSON.stringify(service)).toString("base64url");
  const did = `did:peer:2.E${encryption}.V${signing}.S${encoded}`;
  const secrets = pairs.map((jwk, i) => ({
    id: `${did}#key-${i + 1}`,
    type: "JsonWebKey2020",
    privateKeyJwk: jwk,
  }));
  return { did, secrets };
};

// In the long form, with relative ids and the signing key first.
exports.create4 = (uri) => {
  const pairs = ["ed25519", "x25519"].map((name) =>
    generateKeyPairSync(name).privateKey.export({ format: "jwk" }),
  );
  const document = {
    "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
    verificationMethod: pairs.map((jwk, i) => ({
      id: `#key-${i + 1}`,
      type: "Multikey",
      publicKeyMultibase: multikey(jwk),
    })),
    authentication: ["#key-1"],
    keyAgreement: ["#key-2"],
    service: [
      {
        id: "#service",
        type: "DIDCommMessaging",
        serviceEndpoint: { uri, accept: ["didcomm/v2"], routingKeys: [] },
      },
    ],
  };
  const json = Buffer.from(JSON.stringify(document));
  const encoded = "z" + base58Encode(Buffer.from([0x80, 0x04, ...json]));
  const digest = createHash("sha256").update(encoded).digest();
  const did = `did:peer:4z${base58Encode(Buffer.from([0x12, 0x20, ...digest]))}:${encoded}`;
  known.set(did, {
    id: did,
    verificationMethod: pairs.map(({ kty, crv, x }, i) => ({
      id: `${did}#key-${i + 1}`,
      type: "JsonWebKey2020",
      controller: did,
      publicKeyJwk: { kty, crv, x },
    })),
    authentication: [`${did}#key-1`],
    keyAgreement: [`${did}#key-2`],
    service: [
      {
        id: `${did}#service`,
        type: "DIDCommMessaging",
        serviceEndpoint: { uri, accept: ["didcomm/v2"], routing_keys: [] },
      },
    ],
  });
  const secrets = pairs.map((jwk, i) => ({
    id: `${did}#key-${i + 1}`,
    type: "JsonWebKey2020",
    privateKeyJwk: jwk,
  }));
  return { did, secrets };
};

const known = new Map(); // of those made here

exports.resolve = (did) => {
  if (known.has(did)) return known.get(did);
  const document = { id: did, verificationMethod: [], keyAgreement: [], authentication: [], service: [] };
  for (const part of did.split(".").slice(1)) {
    if (part[0] === "S") {
      const { t, s } = JSON.parse(Buffer.from(part.slice(1), "base64url"));
      document.service.push({
        id: `${did}#service-${document.service.length}`,
        type: t === "dm" ? "DIDCommMessaging" : t,
        serviceEndpoint: { uri: s.uri, accept: s.a ?? ["didcomm/v2"], routing_keys: s.r ?? [] },
      });
      continue;
    }
    const id = `${did}#key-${document.verificationMethod.length + 1}`;
    const crv = part[0] === "E" ? "X25519" : "Ed25519";
    const x = base58Decode(part.slice(2)).subarray(2).toString("base64url");
    document.verificationMethod.push({
      id,
      type: "JsonWebKey2020",
      controller: did,
      publicKeyJwk: { kty: "OKP", crv, x },
    });
    document[part[0] === "E" ? "keyAgreement" : "authentication"].push(id);
  }
  return document;
};

const multikey = ({ crv, x }) =>
  "z" + base58Encode(Buffer.from([...CODECS[crv], ...Buffer.from(x, "base64url")]));

function base58Encode(bytes) {
  let number = BigInt("0x" + bytes.toString("hex"));
  let text = "";
  for (; number > 0n; number /= 58n) text = ALPHABET[number % 58n] + text;
  return text;
}

function base58Decode(text) {
  let number = 0n;
  for (const character of text) number = number * 58n + BigInt(ALPHABET.indexOf(character));
  return Buffer.from(number.toString(16).padStart(68, "0"), "hex");
}
