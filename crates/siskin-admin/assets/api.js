// The broker's HTTP API, with the credentials that somebody has signed in with.

const KEY = "siskin.authorization";

// The broker has answered, and says no.
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// The broker has not answered.
export class Unreachable extends Error {}

// What asks somebody to sign in, given what was wrong with it the last time; set by the application.
let ask = null;
let asking = null;

export function onSignIn(dialog) {
  ask = dialog;
}

export function isSignedIn() {
  return sessionStorage.getItem(KEY) !== null;
}

export function signOut() {
  sessionStorage.removeItem(KEY);
  location.reload();
}

// What `path` below /api/v1/ answers. An answer that is an error is thrown with the broker's words.
export async function api(path, { method = "GET", query = {}, body, signal } = {}) {
  const response = await request(path, { method, query, body, signal });
  const text = await response.text();
  return text === "" ? null : JSON.parse(text);
}

// Calls `onLine` with each line of JSON that `path` sends, until it ends or `signal` says so.
export async function follow(path, query, signal, onLine) {
  const response = await request(path, { query, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch(unreachable);
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    lines.filter((line) => line !== "").forEach((line) => onLine(JSON.parse(line)));
  }
}

async function request(path, { method = "GET", query = {}, body, signal }) {
  const url = new URL(`api/v1/${path}`, document.baseURI);
  for (const [key, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(key, value);
  }
  for (let wrong = null; ; wrong = "That was not right.") {
    const headers = {};
    const authorization = sessionStorage.getItem(KEY);
    if (authorization !== null) headers.Authorization = authorization;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    // Without credentials of its own the browser does not ask for any either.
    const response = await fetch(url, {
      method, headers, signal, cache: "no-store", credentials: "omit", body: body && JSON.stringify(body),
    }).catch(unreachable);
    if (response.status === 401) {
      await signIn(authorization, authorization === null ? null : wrong ?? "That is not right any more.");
      continue;
    }
    if (!response.ok) throw new ApiError(response.status, await reason(response));
    return response;
  }
}

function unreachable(error) {
  throw error.name === "AbortError" ? error : new Unreachable("The broker does not answer. Trying again.");
}

// One dialog for all requests that wait for it.
async function signIn(used, wrong) {
  if (sessionStorage.getItem(KEY) !== used) return;
  asking ??= ask(wrong).finally(() => (asking = null));
  sessionStorage.setItem(KEY, await asking);
}

async function reason(response) {
  try {
    return (await response.json()).message;
  } catch {
    return `the broker answers ${response.status}`;
  }
}

// The value of an Authorization header for a token, or for a user and password.
export function authorization({ token, user, password }) {
  if (token !== "") return `Bearer ${asBytes(token)}`;
  return `Basic ${btoa(asBytes(`${user}:${password}`))}`;
}

// Text in UTF-8, with a character for each byte, as headers have it.
function asBytes(text) {
  return String.fromCharCode(...new TextEncoder().encode(text));
}
