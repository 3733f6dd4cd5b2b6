// oidc-provider 9.13.3 at a port of this machine, for a native client: until standard input ends.
// Whoever logs in is NAME@uni.example, verified; who is called "new" is not.

import { createServer } from "http";
import { pathToFileURL } from "url";

const folder = process.argv[2];
const { default: Provider } = await import(
  pathToFileURL(`${folder}/node_modules/oidc-provider/lib/index.js`)
);

const client = {
  client_id: "didmesh",
  application_type: "native",
  token_endpoint_auth_method: "none",
  grant_types: ["authorization_code"],
  response_types: ["code"],
  redirect_uris: ["http://127.0.0.1/"],
};

console.warn = () => {};
const server = createServer((request, response) => handle(request, response));
let handle;
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [client],
    claims: { openid: ["sub"], email: ["email", "email_verified"] },
    features: { claimsParameter: { enabled: true }, devInteractions: { enabled: true } },
    cookies: { keys: ["of a test"] },
    findAccount: (_, name) => ({
      accountId: name,
      claims: () => ({
        sub: name,
        email: `${name}@uni.example`,
        email_verified: name !== "new",
      }),
    }),
  });
  handle = provider.callback();
  console.log(JSON.stringify({ issuer }));
});
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
