// Serve handlers as JSON lines: a request `{"op": …}`, an answer `{"result": …}` or `{"error": …}`.
"use strict";

const readline = require("readline");

module.exports = async function serve(handlers) {
  // What libraries print is not for who asks.
  console.log = console.info = console.warn = console.debug = () => {};
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    let answer;
    try {
      answer = { result: (await handlers[request.op](request)) ?? null };
    } catch (error) {
      answer = { error: String(error?.stack ?? error) };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
  process.exit(0);
};
