// One session over as many sockets as it takes: hello, resume, stream count, acknowledgements,
// heartbeat, and reconnecting with full-jitter back-off.
//
// Owns the socket and everything PROTOCOL.md says of sessions (sections 6, 11, 12). It knows nothing
// of conversations. Clock, timers, randomness and the socket's class are passed in, so tests decide.

import { decodeMessage, encodeFrame, FIRST_STREAM } from "./codec.js";

const SUBPROTOCOL = "rookery.v1";
const WELCOME_TIMEOUT_MS = 10_000;
const STABLE_AFTER_MS = 10_000;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MOST_MS = 30_000;
const ACK_AFTER_MS = 200;
const DEAD_AFTER_BEATS = 3;
/** A refreshed token is asked for this long before the old one expires. */
const REFRESH_EARLY_MS = 60_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** The request numbers of `Authenticate` and `Refresh`; others of a session use greater ones. */
const AUTHENTICATE_REQUEST = 1;
const REFRESH_REQUEST = 2;
export const LAST_OWN_REQUEST = REFRESH_REQUEST;
const TRADE_TIMEOUT_MS = 10_000;

export const CloseCode = Object.freeze({
  GoingAway: 4000,
  SlowConsumer: 4001,
  HeartbeatTimeout: 4002,
  Overloaded: 4003,
  Internal: 4004,
  TokenExpired: 4005,
  HelloTimeout: 4006,
  ProtocolError: 4100,
  Unauthenticated: 4101,
  Replaced: 4102,
  Revoked: 4103,
  UnsupportedVersion: 4104,
});

/** Whether a client reconnects by itself after this close code. */
export function shouldReconnect(code) {
  return !(code >= 4100 && code <= 4199);
}

/** Milliseconds to wait before attempt n (0, 1, 2, ...): uniform below a bound that doubles. */
export function backoffMs(attempt, random) {
  return random() * Math.min(BACKOFF_MOST_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 30));
}

/** The machine's own clock and timers. */
export const systemTimers = Object.freeze({
  now: () => Date.now(),
  set: (work, ms) => setTimeout(work, ms),
  clear: (timer) => clearTimeout(timer),
});

export class Connection {
  #options;
  #on;
  #timers;
  #random;
  #urls;
  #url = 0;
  #socket = null;
  /** Bumped whenever an attempt or a socket is given up: what belongs to an older one is ignored. */
  #generation = 0;
  #state = "offline";
  #wanted = false;
  #attempts = 0;
  #session = null;
  #received = 0n;
  #unacknowledged = 0;
  #window = 0;
  #token = null;
  #needsFresh = false;
  #triedFresh = false;
  /** Beats since anything was heard. Counted, not timed: timers of a hidden page run late. */
  #silentBeats = 0;
  /** Who waits for the answer to `Refresh`: `{resolve, reject}`. */
  #trading = null;
  #nonce = 0;
  #running = new Map();

  /**
   * @param {object} options
   * @param {string[]} options.urls WebSocket addresses, best first
   * @param {(wish: {fresh: boolean, instead: string | null, trade?: Function}) => Promise<{token: string, leftMs: number}>} options.token
   *   `trade(refreshToken)` asks on this connection: `Refreshed`, or an error (its `code`; none: lost)
   * @param {object} options.on `welcome(fields)`, `frame(name, fields)`, `state(state, detail)`
   */
  constructor(options) {
    this.#options = {
      WebSocket: globalThis.WebSocket,
      agent: "rookery-js/0.1",
      windowBytes: 256 * 1024,
      ...options,
    };
    this.#on = options.on;
    this.#timers = options.timers ?? systemTimers;
    this.#random = options.random ?? Math.random;
    this.#urls = [...options.urls];
  }

  /** "offline" (also while it waits), "connecting" or "online". */
  get state() {
    return this.#state;
  }

  /** Stream frames received in this session. */
  get received() {
    return this.#received;
  }

  /** Connects, and stays connected until `stop`. */
  start() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#attempts = 0;
    this.#attempt();
  }

  /** The network is said to be back: don't wait any longer. */
  hurry() {
    if (!this.#wanted || this.#state !== "offline") return;
    this.#attempts = 0;
    this.#attempt();
  }

  /** Ends the session: the user shows as offline at once. */
  stop() {
    if (this.#state === "online") this.send("Leave");
    this.#wanted = false;
    this.#session = null;
    this.#drop();
    this.#become("offline", { reason: "stopped" });
  }

  /**
   * Sends a frame now.
   * @returns {boolean} false when there is no session on the line
   */
  send(name, fields) {
    if (this.#state !== "online") return false;
    this.#write(name, fields);
    return true;
  }

  // ---- timers, by name --------------------------------------------------------------------------

  #after(name, ms, work) {
    this.#cancel(name);
    const timer = this.#timers.set(
      () => {
        this.#running.delete(name);
        work();
      },
      Math.min(ms, LONGEST_TIMER_MS),
    );
    this.#running.set(name, timer);
  }

  #cancel(name) {
    if (!this.#running.has(name)) return;
    this.#timers.clear(this.#running.get(name));
    this.#running.delete(name);
  }

  // ---- attempts ---------------------------------------------------------------------------------

  async #attempt() {
    this.#drop();
    const generation = this.#generation;
    this.#become("connecting", {});
    try {
      const wish = { fresh: this.#needsFresh, instead: this.#token };
      const { token } = await this.#options.token(wish);
      if (generation !== this.#generation) return;
      this.#token = token;
    } catch (error) {
      if (generation !== this.#generation) return;
      if (error.signedOut) return this.#giveUp("signed-out");
      return this.#again({ reason: "no token" });
    }
    this.#needsFresh = false;
    this.#open(generation);
  }

  #open(generation) {
    const current = () => generation === this.#generation;
    let socket;
    try {
      const url = this.#urls[this.#url % this.#urls.length];
      socket = new this.#options.WebSocket(url, [SUBPROTOCOL]);
    } catch {
      return this.#failed({ reason: "the address is refused" });
    }
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => current() && this.#hello();
    socket.onmessage = (event) => current() && this.#message(event.data);
    socket.onclose = (event) => current() && this.#closed(event.code);
    // `onclose` follows and decides; without a handler some sockets throw.
    socket.onerror = () => {};
    this.#after("welcome", WELCOME_TIMEOUT_MS, () => this.#failed({ reason: "no welcome" }));
  }

  #hello() {
    const session = this.#session;
    this.#write("Hello", {
      versions: [1],
      token: this.#token,
      resume: session && { ...session, received: this.#received },
      agent: this.#options.agent,
      window_bytes: this.#options.windowBytes,
    });
  }

  #closed(code) {
    if (code === CloseCode.TokenExpired) this.#needsFresh = true;
    if (code === CloseCode.Unauthenticated && !this.#triedFresh) {
      this.#triedFresh = true;
      this.#needsFresh = true;
    } else if (code === CloseCode.Unauthenticated || code === CloseCode.Revoked) {
      return this.#giveUp("signed-out", code);
    } else if (!shouldReconnect(code)) {
      return this.#giveUp(code === CloseCode.Replaced ? "replaced" : "refused", code);
    }
    this.#failed({ code });
  }

  /** This address did not do, or was lost: the next attempt takes another when it never welcomed. */
  #failed(detail) {
    if (this.#state !== "online") this.#url += 1;
    this.#again(detail);
  }

  #again(detail) {
    this.#drop();
    const wait = backoffMs(this.#attempts, this.#random);
    this.#attempts += 1;
    this.#become("offline", { ...detail, retryInMs: wait });
    this.#after("retry", wait, () => this.#attempt());
  }

  #giveUp(reason, code) {
    this.#wanted = false;
    this.#session = null;
    this.#drop();
    this.#become("offline", { reason, code });
  }

  /** Forgets the socket, if there is one, and every timer. */
  #drop() {
    this.#generation += 1;
    for (const name of [...this.#running.keys()]) this.#cancel(name);
    this.#traded(null, new Error("the connection is lost"));
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    try {
      socket.close(1000);
    } catch {
      // A socket that never opened may refuse; it is forgotten either way.
    }
  }

  #become(state, detail) {
    this.#state = state;
    this.#on.state(state, detail);
  }

  // ---- what comes in ----------------------------------------------------------------------------

  #write(name, fields) {
    this.#socket.send(encodeFrame(name, fields));
  }

  #message(data) {
    this.#silentBeats = 0;
    const generation = this.#generation;
    let frames;
    try {
      frames = decodeMessage(data);
    } catch {
      return this.#failed({ reason: "not understood" });
    }
    for (const frame of frames) {
      this.#frame(frame);
      if (generation !== this.#generation) return;
      if (frame.number < FIRST_STREAM) continue;
      // Counted once it was processed: what was not is sent again on resume.
      this.#received += 1n;
      this.#unacknowledged += frame.size;
    }
    this.#acknowledgeSoon();
  }

  #frame({ name, fields }) {
    switch (name) {
      case null:
        return;
      case "Welcome":
        return this.#welcome(fields);
      case "Drain":
        return this.#drain(fields);
      case "Behind":
        this.#acknowledge();
        break;
      case "Refreshed":
        this.#token = fields.access_token;
        return this.#traded(fields, null);
      case "Error":
        if (fields.request !== REFRESH_REQUEST) break;
        return this.#traded(null, Object.assign(new Error(fields.detail), fields));
    }
    this.#on.frame(name, fields);
  }

  #welcome(fields) {
    this.#cancel("welcome");
    if (!fields.resumed) {
      this.#received = 0n;
      this.#unacknowledged = 0;
    }
    this.#session = { session: fields.session, secret: fields.secret };
    this.#window = fields.limits.window_bytes;
    this.#triedFresh = false;
    this.#urls.push(...fields.endpoints.filter((url) => !this.#urls.includes(url)));
    this.#after("stable", STABLE_AFTER_MS, () => {
      this.#attempts = 0;
    });
    this.#after("heartbeat", this.#random() * fields.heartbeat_ms, () =>
      this.#beat(fields.heartbeat_ms),
    );
    this.#refreshBefore(Number(fields.token_expires_ms - fields.server_time_ms));
    this.#state = "online";
    this.#on.welcome(fields);
    this.#on.state("online", {});
  }

  #drain({ reconnect_after_ms: wait, alternates }) {
    const others = this.#urls.filter((url) => !alternates.includes(url));
    this.#after("drain", wait * (1 + this.#random()), () => {
      this.#urls = [...alternates, ...others];
      this.#url = 0;
      this.#attempt();
    });
  }

  // ---- acknowledgements, heartbeat, token -------------------------------------------------------

  #acknowledgeSoon() {
    if (this.#unacknowledged === 0 || this.#state !== "online") return;
    if (this.#unacknowledged * 4 >= this.#window) return this.#acknowledge();
    if (!this.#running.has("ack")) this.#after("ack", ACK_AFTER_MS, () => this.#acknowledge());
  }

  #acknowledge() {
    this.#cancel("ack");
    if (this.#unacknowledged === 0) return;
    if (this.send("Ack", { received: this.#received })) this.#unacknowledged = 0;
  }

  #beat(heartbeat) {
    if (this.#silentBeats >= DEAD_AFTER_BEATS) return this.#failed({ reason: "silence" });
    this.#silentBeats += 1;
    this.#nonce = (this.#nonce + 1) >>> 0;
    this.send("Ping", { nonce: this.#nonce });
    this.#after("heartbeat", heartbeat, () => this.#beat(heartbeat));
  }

  #refreshBefore(left) {
    this.#refreshIn(Math.max(left / 2, left - REFRESH_EARLY_MS), left);
  }

  /** Tells the session a fresh token; where none can be had, tries again until the old expires. */
  #refreshIn(wait, left) {
    this.#after("refresh", wait, async () => {
      const generation = this.#generation;
      try {
        const trade = (refreshToken) => this.#trade(refreshToken);
        const wish = { fresh: true, instead: this.#token, trade };
        const { token, leftMs } = await this.#options.token(wish);
        if (generation !== this.#generation) return;
        // One that was traded here the session has already.
        if (token !== this.#token) this.send("Authenticate", { request: AUTHENTICATE_REQUEST, token });
        this.#token = token;
        this.#refreshBefore(leftMs);
      } catch (error) {
        if (generation !== this.#generation) return;
        if (error.signedOut) return this.#giveUp("signed-out");
        if (left > wait) this.#refreshIn(5_000 + this.#random() * 5_000, left - wait);
      }
    });
  }

  /** Trades a refresh token for fresh tokens on this connection. */
  #trade(refreshToken) {
    return new Promise((resolve, reject) => {
      this.#traded(null, new Error("another trade began"));
      const fields = { request: REFRESH_REQUEST, refresh_token: refreshToken };
      if (!this.send("Refresh", fields)) return reject(new Error("there is no connection"));
      this.#trading = { resolve, reject };
      this.#after("trade", TRADE_TIMEOUT_MS, () => this.#traded(null, new Error("no answer")));
    });
  }

  #traded(fields, error) {
    const waiting = this.#trading;
    this.#trading = null;
    this.#cancel("trade");
    if (fields) waiting?.resolve(fields);
    else waiting?.reject(error);
  }
}
