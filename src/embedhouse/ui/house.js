// Calls to the house, with the key if there is one.

const KEY = "embedhouse-key";

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

export class HouseError extends Error {
  constructor(code, message, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

export async function raw(method, path, body) {
  const headers = {};
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    return await fetch(path, { method, headers, body });
  } catch {
    throw new HouseError("unreachable", "The server does not answer.", 0);
  }
}

export async function call(method, path, body) {
  const started = performance.now();
  const response = await raw(method, path, body === undefined ? undefined : JSON.stringify(body));
  const text = await response.text();
  const answer = text ? JSON.parse(text) : null;
  if (!response.ok) throw new HouseError(answer?.error?.code, answer?.error?.message ?? response.statusText, response.status);
  return { answer, roundTripMs: performance.now() - started };
}

export const get = (path) => call("GET", path);
export const post = (path, body) => call("POST", path, body);
export const segment = encodeURIComponent;
