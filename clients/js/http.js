// Log-in over HTTP, and the keeping of tokens.
//
// A refresh token works once, and using it again revokes the device's tokens. So refreshing goes
// through a lock that all tabs share, and a tab first looks whether another one has refreshed.

/** Refresh when the access token has less than this left, in milliseconds. */
const EARLY_MS = 15_000;
/** `BadToken` as the wire numbers it. */
const BAD_TOKEN = 200;

/** The service refused, or could not be reached (`code` "Unreachable"). */
export class HttpError extends Error {
  name = "HttpError";

  constructor(status, code, detail) {
    super(detail || code);
    this.status = status;
    this.code = code;
  }

  /** Whether the user has to log in again. */
  get signedOut() {
    return this.code === "BadToken" || this.code === "WrongCredentials";
  }
}

/**
 * One request. The answer carries `clock_offset_ms`: the server's clock minus this machine's.
 * @throws {HttpError}
 */
async function post(base, path, body, { fetch = globalThis.fetch, now = Date.now } = {}) {
  let response;
  try {
    response = await fetch(new URL(path, base), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      credentials: "omit",
    });
  } catch (error) {
    throw new HttpError(0, "Unreachable", String(error));
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok || answer === null) {
    const { code = "Unreachable", detail = `status ${response.status}` } = answer?.error ?? {};
    throw new HttpError(response.status, code, detail);
  }
  const date = Date.parse(response.headers.get("date") ?? "");
  return { ...answer, clock_offset_ms: Number.isNaN(date) ? 0 : date - now() };
}

/** Creates an account and its first device. */
export function signUp(base, name, password, options) {
  return post(base, "/v1/signup", { name, password }, options);
}

/** Logs in, which creates a device. */
export function logIn(base, name, password, deviceName, options) {
  return post(base, "/v1/login", { name, password, device_name: deviceName }, options);
}

/** Keeps one device's tokens fresh. */
export class Tokens {
  #refreshing = null;

  /**
   * @param {object} options
   * @param {string} options.base the service's address
   * @param {() => object | null} options.load the tokens as kept, shared by all tabs
   * @param {(tokens: object | null) => void} options.save keeps them
   * @param {<T>(work: () => Promise<T>) => Promise<T>} options.lock runs one at a time, over all tabs
   */
  constructor({ base, load, save, lock = (work) => work(), fetch, now = Date.now }) {
    this.base = base;
    this.load = load;
    this.save = save;
    this.lock = lock;
    this.http = { fetch, now };
  }

  /** Milliseconds the tokens' access token is still good for. */
  #left(tokens) {
    return tokens.access_expires_ms - (tokens.clock_offset_ms ?? 0) - this.http.now();
  }

  /**
   * An access token; with `fresh`, one other than `instead`. A refresh goes over the connection of
   * `trade`, if there is one, and else over HTTP.
   * @param {{fresh?: boolean, instead?: string | null, trade?: Function}} wish
   * @returns {Promise<{token: string, leftMs: number}>}
   * @throws {HttpError} `signedOut` when the user must log in again
   */
  async access({ fresh = false, instead = null, trade = null } = {}) {
    const tokens = this.#kept();
    const stale = fresh && tokens.access_token === instead;
    if (!stale && this.#left(tokens) > EARLY_MS) return this.#told(tokens);
    this.#refreshing ??= this.lock(() => this.#refresh(tokens.access_token, trade)).finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  async #refresh(old, trade) {
    const tokens = this.#kept();
    if (tokens.access_token !== old && this.#left(tokens) > EARLY_MS) return this.#told(tokens);
    try {
      const body = { refresh_token: tokens.refresh_token };
      const traded = trade && (await this.#traded(tokens, trade));
      const next = traded || (await post(this.base, "/v1/refresh", body, this.http));
      this.save(next);
      return this.#told(next);
    } catch (error) {
      if (error.signedOut) this.save(null);
      throw error;
    }
  }

  /** The tokens of a trade; null when its connection gave none: for a while, asking again is safe. */
  async #traded(tokens, trade) {
    try {
      const fields = await trade(tokens.refresh_token);
      return {
        ...tokens,
        access_token: fields.access_token,
        access_expires_ms: Number(fields.access_expires_ms),
        refresh_token: fields.refresh_token,
      };
    } catch (error) {
      if (error.code === BAD_TOKEN) throw new HttpError(401, "BadToken", error.message);
      return null;
    }
  }

  #told(tokens) {
    return { token: tokens.access_token, leftMs: this.#left(tokens) };
  }

  #kept() {
    const tokens = this.load();
    if (!tokens) throw new HttpError(401, "BadToken", "nobody is logged in");
    return tokens;
  }
}
