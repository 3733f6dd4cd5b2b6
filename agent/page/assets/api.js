// Requests to the server that gave us this page. The token came behind the "#" of the address,
// where it reaches no server and no referrer; it is kept for this tab alone.

const KEY = "token";
const given = location.hash.slice(1);
if (/^[\w-]{40,}$/.test(given)) {
  sessionStorage.setItem(KEY, given);
  history.replaceState(null, "", "/");
}

export class Refused extends Error {
  constructor(told) {
    super(told.error ?? "it did not work");
    this.hint = told.hint ?? "";
  }
}

async function call(path, options) {
  let answer;
  try {
    answer = await fetch(`/api/${path}`, {
      ...options,
      headers: {
        Authorization: `Bearer ${sessionStorage.getItem(KEY)}`,
        "Content-Type": "application/json",
      },
    });
  } catch {
    throw new Refused({ error: "agent ui does not run any more", hint: "start it again" });
  }
  const told = await answer.json();
  if (!answer.ok) throw new Refused(told);
  return told;
}

export const get = (path) => call(path, { method: "GET" });
export const post = (path, body = {}) =>
  call(path, { method: "POST", body: JSON.stringify(body) });
export const ask = (command, about = {}) => post("ask", { command, ...about });
