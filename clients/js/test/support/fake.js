// A clock, a socket and a service for tests: nothing moves by itself.

import { decodeMessage, encodeFrame } from "../../codec.js";
import { Client } from "../../client.js";

/** Lets promises settle; no timer of the fake clock runs. */
export const settle = () => new Promise((resolve) => setImmediate(resolve));

export class FakeTimers {
  #now = 1_760_000_000_000;
  #next = 1;
  #timers = new Map();

  now = () => this.#now;
  set = (work, ms) => {
    const id = this.#next++;
    this.#timers.set(id, { at: this.#now + ms, work });
    return id;
  };
  clear = (id) => this.#timers.delete(id);

  /** Moves the clock, running what is due in order, with promises settled after each. */
  async advance(ms) {
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, timer]) => timer.at <= end);
      if (due.length === 0) break;
      const [id, timer] = due.reduce((a, b) => (b[1].at < a[1].at ? b : a));
      this.#timers.delete(id);
      this.#now = Math.max(this.#now, timer.at);
      timer.work();
      await settle();
    }
    this.#now = end;
    await settle();
  }
}

export class FakeSocket {
  static all = [];
  sent = [];
  closed = null;

  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
    FakeSocket.all.push(this);
  }

  send(bytes) {
    for (const { name, fields } of decodeMessage(bytes)) this.sent.push({ frame: name, ...fields });
  }

  close(code) {
    this.closed = code;
  }

  /** The frames of a name that were sent, and forgets them. */
  take(name) {
    const taken = this.sent.filter(({ frame }) => frame === name);
    this.sent = this.sent.filter(({ frame }) => frame !== name);
    return taken;
  }

  /** The only frame of a name that was sent, and forgets it. */
  one(name) {
    const taken = this.take(name);
    if (taken.length !== 1) throw new Error(`${taken.length} frames ${name} were sent`);
    return taken[0];
  }

  receive(...frames) {
    const parts = frames.map(([name, fields]) => encodeFrame(name, fields));
    this.receiveBytes(Uint8Array.from(parts.flatMap((part) => [...part])));
  }

  receiveBytes(bytes) {
    this.onmessage?.({ data: bytes.buffer });
  }

  lose(code = 1006) {
    this.onclose?.({ code });
  }
}

export const ADA = 0xadan;
export const BOB = 0xb0bn;
export const CHAT = 0xc4a7n;
export const SECRET = new Uint8Array(16).fill(7);

export const limits = {
  body_bytes: 16384,
  frame_bytes: 65536,
  message_bytes: 131072,
  sends_in_flight: 64,
  requests_in_flight: 32,
  watched_users: 1000,
  window_bytes: 262144,
};

export const welcome = (change = {}) => [
  "Welcome",
  {
    version: 1,
    session: 5n,
    secret: SECRET,
    resumed: false,
    user: ADA,
    device: 1n,
    name: "ada",
    heartbeat_ms: 5000,
    grace_ms: 30000,
    server_time_ms: 1_760_000_000_000n,
    token_expires_ms: 1_760_000_900_000n,
    limits,
    node: "n1",
    endpoints: [],
    ...change,
  },
];

export const entry = (seq, text = `text ${seq}`, change = {}) => ({
  seq: BigInt(seq),
  sender: BOB,
  device: 2n,
  time_ms: 1_760_000_000_000n + BigInt(seq),
  client_msg_id: new Uint8Array(16).fill(seq % 256),
  kind: 1,
  body: new TextEncoder().encode(text),
  ...change,
});

export const info = (head, change = {}) => ({
  conversation: CHAT,
  kind: 1,
  title: "",
  members: [
    { user: ADA, name: "ada", role: 1, delivered: 0n, read: 0n },
    { user: BOB, name: "bob", role: 1, delivered: 0n, read: 0n },
  ],
  head: BigInt(head),
  floor: 1n,
  active_ms: 0n,
  last: head > 0 ? entry(head) : null,
  ...change,
});

export const cursor = (n) => ({ epoch: 1, stamp: new Uint8Array(12).fill(n) });

/** A client on fakes, with every event kept. `random` is 0.5 throughout. */
export function fakeClient(options = {}) {
  FakeSocket.all = [];
  const timers = new FakeTimers();
  const tokens = [];
  const client = new Client({
    urls: ["ws://one/v1/ws", "ws://two/v1/ws"],
    token: async (wish) => {
      tokens.push(wish);
      return { token: `token ${tokens.length}`, leftMs: 900_000 };
    },
    WebSocket: FakeSocket,
    timers,
    random: () => 0.5,
    ...options,
  });
  const events = [];
  for (const name of ["state", "conversation", "entries", "pending", "typing", "presence", "fault"]) {
    client.on(name, (detail) => events.push({ name, ...detail }));
  }
  const socket = () => FakeSocket.all.at(-1);
  return { client, timers, tokens, events, socket };
}

/** Connects to the fake service, up to a welcome. */
export async function online(fake, change = {}) {
  fake.client.connect();
  await settle();
  const socket = fake.socket();
  socket.onopen();
  socket.receive(welcome(change));
  await settle();
  return socket;
}

/** Online and caught up, with one conversation whose newest entry is `head`. */
export async function chatting(fake, head = 0) {
  const socket = await online(fake);
  const { request } = socket.one("Sync");
  socket.receive(["CaughtUp", { request, cursor: cursor(1) }]);
  await settle();
  const list = socket.one("Conversations");
  socket.receive([
    "ConversationPage",
    { request: list.request, conversations: [info(head)], next: null },
  ]);
  await settle();
  return { socket, chat: fake.client.conversations.get(CHAT) };
}

/** Loses the connection and gets a new one, up to the open socket with its hello. */
export async function reconnect(fake, code = 1006) {
  fake.socket().lose(code);
  fake.client.hurry();
  await settle();
  const socket = fake.socket();
  socket.onopen();
  return { socket, hello: socket.one("Hello") };
}
