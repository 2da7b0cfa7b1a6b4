// Sessions over lost sockets: hello, resume, counting, back-off, heartbeat, tokens, close codes.

import assert from "node:assert/strict";
import test from "node:test";
import { backoffMs, shouldReconnect } from "../client.js";
import { encodeFrame, fromHex } from "../codec.js";
import * as fake from "./support/fake.js";

const message = (seq) => ["Message", { conversation: fake.CHAT, entry: fake.entry(seq) }];

test("the first hello has no session, and the subprotocol is offered", async () => {
  const f = fake.fakeClient();
  const socket = await fake.online(f);
  assert.deepEqual(socket.protocols, ["rookery.v1"]);
  const hello = socket.one("Hello");
  assert.equal(hello.token, "token 1");
  assert.equal(hello.resume, null);
  assert.deepEqual(hello.versions, [1]);
  assert.equal(f.client.state, "online");
});

test("stream frames are counted, unknown ones too, and acknowledged in 200 ms", async () => {
  const f = fake.fakeClient();
  const { socket } = await fake.chatting(f);
  await f.timers.advance(200);
  assert.equal(socket.one("Ack").received, 1n);
  const unknown = fromHex("fe03aabbcc");
  const parts = [encodeFrame(...message(1)), unknown, encodeFrame("Pong", { nonce: 1 })];
  socket.receiveBytes(Uint8Array.from(parts.flatMap((part) => [...part])));
  assert.deepEqual(socket.take("Ack"), []);
  await f.timers.advance(200);
  assert.equal(socket.one("Ack").received, 3n);
});

test("a quarter of the window is acknowledged at once", async () => {
  const f = fake.fakeClient();
  const window = { ...fake.limits, window_bytes: 16384 };
  const socket = await fake.online(f, { limits: window });
  socket.receive([
    "Message",
    { conversation: fake.CHAT, entry: fake.entry(1, "x".repeat(4096)) },
  ]);
  assert.equal(socket.one("Ack").received, 1n);
});

test("a lost connection resumes the session with the count", async () => {
  const f = fake.fakeClient();
  await fake.chatting(f);
  f.socket().receive(message(1), message(2));
  const { socket, hello } = await fake.reconnect(f);
  assert.deepEqual(hello.resume, { session: 5n, secret: fake.SECRET, received: 3n });
  socket.receive(fake.welcome({ resumed: true, secret: new Uint8Array(16).fill(8) }));
  assert.deepEqual(socket.take("Sync"), []);
  socket.receive(message(3));
  const again = await fake.reconnect(f);
  assert.equal(again.hello.resume.received, 4n);
  assert.deepEqual(again.hello.resume.secret, new Uint8Array(16).fill(8));
});

test("a session that could not be resumed counts from 0 and syncs from its cursor", async () => {
  const f = fake.fakeClient();
  await fake.chatting(f);
  const { socket } = await fake.reconnect(f);
  socket.receive(fake.welcome({ session: 6n }));
  assert.deepEqual(socket.one("Sync").cursor, fake.cursor(1));
  socket.receive(message(1));
  await f.timers.advance(200);
  assert.equal(socket.one("Ack").received, 1n);
});

test("a welcome on an open connection begins a new session", async () => {
  const f = fake.fakeClient();
  const { socket } = await fake.chatting(f);
  socket.receive(message(1));
  socket.receive(fake.welcome({ session: 7n }));
  assert.deepEqual(socket.one("Sync").cursor, fake.cursor(1));
  socket.receive(message(2));
  await f.timers.advance(200);
  assert.equal(socket.take("Ack").at(-1).received, 1n);
});

test("back-off is uniform below a bound that doubles up to 30 s", () => {
  assert.equal(backoffMs(0, () => 0), 0);
  assert.equal(backoffMs(0, () => 1), 500);
  assert.equal(backoffMs(3, () => 1), 4000);
  assert.equal(backoffMs(3, () => 0.5), 2000);
  assert.equal(backoffMs(10, () => 1), 30_000);
  assert.equal(backoffMs(5000, () => 1), 30_000);
});

test("attempts wait longer and longer, and go through the addresses", async () => {
  const f = fake.fakeClient();
  f.client.connect();
  await fake.settle();
  const waits = [];
  for (let attempt = 0; attempt < 8; attempt += 1) {
    f.socket().lose();
    waits.push(f.events.at(-1).retryInMs);
    await f.timers.advance(waits.at(-1));
  }
  assert.deepEqual(waits, [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
  const urls = fake.FakeSocket.all.map((socket) => socket.url);
  assert.deepEqual(urls.slice(0, 3), ["ws://one/v1/ws", "ws://two/v1/ws", "ws://one/v1/ws"]);
});

test("the back-off begins anew only after ten good seconds", async () => {
  const f = fake.fakeClient();
  await fake.online(f);
  f.socket().lose();
  assert.equal(f.events.at(-1).retryInMs, 250);
  await f.timers.advance(250);
  f.socket().onopen();
  f.socket().receive(fake.welcome({ resumed: true }));
  await f.timers.advance(1000);
  f.socket().lose();
  assert.equal(f.events.at(-1).retryInMs, 500);
  await f.timers.advance(500);
  f.socket().onopen();
  f.socket().receive(fake.welcome({ resumed: true }));
  await f.timers.advance(10_000);
  f.socket().lose();
  assert.equal(f.events.at(-1).retryInMs, 250);
});

test("an attempt without welcome is given up after ten seconds", async () => {
  const f = fake.fakeClient();
  f.client.connect();
  await fake.settle();
  const first = f.socket();
  first.onopen();
  await f.timers.advance(10_000);
  assert.equal(first.closed, 1000);
  await f.timers.advance(1000);
  assert.notEqual(f.socket(), first);
});

test("the network's return ends the wait", async () => {
  const f = fake.fakeClient();
  await fake.online(f);
  const first = f.socket();
  first.lose();
  f.client.hurry();
  await fake.settle();
  assert.notEqual(f.socket(), first);
});

test("a ping goes out every heartbeat, the first at a random part of it", async () => {
  const f = fake.fakeClient();
  const socket = await fake.online(f);
  await f.timers.advance(2499);
  assert.deepEqual(socket.take("Ping"), []);
  await f.timers.advance(1);
  socket.receive(["Pong", { nonce: socket.one("Ping").nonce }]);
  await f.timers.advance(5000);
  assert.equal(socket.take("Ping").length, 1);
});

test("a connection that is silent for three beats is dropped and resumed", async () => {
  const f = fake.fakeClient();
  const first = await fake.online(f);
  await f.timers.advance(2500 + 3 * 5000 + 250);
  assert.equal(first.closed, 1000);
  assert.notEqual(f.socket(), first);
  f.socket().onopen();
  assert.notEqual(f.socket().one("Hello").resume, null);
});

test("close codes say whether to reconnect", async () => {
  for (const code of [1000, 1001, 1006, 4000, 4001, 4099, 4200]) assert.ok(shouldReconnect(code));
  for (const code of [4100, 4102, 4150, 4199]) assert.ok(!shouldReconnect(code));
  for (const [code, reason] of [[4102, "replaced"], [4103, "signed-out"], [4150, "refused"]]) {
    const f = fake.fakeClient();
    const socket = await fake.online(f);
    socket.lose(code);
    await f.timers.advance(60_000);
    assert.equal(f.socket(), socket, `no new socket after ${code}`);
    assert.equal(f.events.findLast((event) => event.name === "state").reason, reason);
  }
});

test("an expired token is replaced before the next hello", async () => {
  const f = fake.fakeClient();
  await fake.online(f);
  await fake.reconnect(f, 4005);
  assert.deepEqual(f.tokens.at(-1), { fresh: true, instead: "token 1" });
});

test("a refused token is refreshed once, then the user is signed out", async () => {
  const f = fake.fakeClient();
  f.client.connect();
  await fake.settle();
  f.socket().lose(4101);
  await f.timers.advance(1000);
  assert.deepEqual(f.tokens.at(-1), { fresh: true, instead: "token 1" });
  f.socket().lose(4101);
  await f.timers.advance(60_000);
  assert.equal(f.events.findLast((event) => event.name === "state").reason, "signed-out");
  assert.equal(fake.FakeSocket.all.length, 2);
});

test("the session is told a fresh token a minute before the old one expires", async () => {
  const f = fake.fakeClient();
  const socket = await fake.online(f);
  // The fake service is silent; pongs keep the connection.
  for (let beat = 0; beat < 168; beat += 1) {
    socket.receive(["Pong", { nonce: 0 }]);
    await f.timers.advance(5000);
  }
  const { request, token } = socket.one("Authenticate");
  assert.equal(token, "token 2");
  assert.equal(request, 1);
  socket.receive(["Done", { request }]);
});

/** A client whose tokens are asked for by `wish`, and the wish for a fresh one on the line. */
async function wishing(token) {
  const wishes = [];
  const f = fake.fakeClient({
    token: async (wish) => {
      wishes.push(wish);
      return wish.trade ? token(wish) : { token: "token 1", leftMs: 900_000 };
    },
  });
  const socket = await fake.online(f);
  for (let beat = 0; beat < 168; beat += 1) {
    socket.receive(["Pong", { nonce: 0 }]);
    await f.timers.advance(5000);
  }
  return { f, socket, wishes };
}

test("a refresh token is traded on the line, and no Authenticate follows", async () => {
  const { f, socket } = await wishing(async ({ trade }) => {
    const fields = await trade("refresh 1");
    return { token: fields.access_token, leftMs: 900_000 };
  });
  const { request, refresh_token: token } = socket.one("Refresh");
  assert.equal(token, "refresh 1");
  const fresh = { access_token: "token 2", access_expires_ms: 1n, refresh_token: "refresh 2" };
  socket.receive(["Refreshed", { request, ...fresh }]);
  await fake.settle();
  assert.deepEqual(socket.take("Authenticate"), []);
  // The next connection shows the new one.
  socket.lose();
  await f.timers.advance(1000);
  assert.equal(f.client.state, "connecting");
});

test("a trade ends with an error when it is refused, unanswered, or its connection is lost", async () => {
  for (const [end, code] of [
    [(socket) => socket.receive(["Error", { request: 2, code: 200, class: 2, retryable: false, retry_after_ms: 0, detail: "no" }]), 200],
    [(socket) => socket.lose(), undefined],
    [async (socket, f) => {
      for (let beat = 0; beat < 2; beat += 1) {
        socket.receive(["Pong", { nonce: 0 }]);
        await f.timers.advance(5000);
      }
    }, undefined],
  ]) {
    let failed = null;
    const { f, socket } = await wishing(async ({ trade }) => {
      try {
        await trade("refresh 1");
      } catch (error) {
        failed = error;
      }
      return { token: "token 3", leftMs: 900_000 };
    });
    await end(socket, f);
    await fake.settle();
    assert.equal(failed?.code, code);
    assert.ok(failed instanceof Error);
    f.client.close();
  }
});

test("a notice of the operators is told", async () => {
  const f = fake.fakeClient();
  const socket = await fake.online(f);
  const told = [];
  f.client.on("notice", (notice) => told.push(notice));
  socket.receive(["Notice", { notice: 3n, time_ms: 1n, text: "Back at 22:00." }]);
  assert.deepEqual(told, [{ notice: 3n, time_ms: 1n, text: "Back at 22:00." }]);
});

test("a draining node is left for another after the wait it asks for", async () => {
  const f = fake.fakeClient();
  const first = await fake.online(f);
  first.receive(["Drain", { reconnect_after_ms: 1000, alternates: ["ws://three/v1/ws"] }]);
  await f.timers.advance(1499);
  assert.equal(f.client.state, "online");
  await f.timers.advance(1);
  assert.equal(f.socket().url, "ws://three/v1/ws");
  f.socket().onopen();
  assert.equal(f.socket().one("Hello").resume.session, 5n);
});

test("bytes that are no frames drop the connection", async () => {
  const f = fake.fakeClient();
  const first = await fake.online(f);
  first.receiveBytes(fromHex("8105"));
  assert.equal(first.closed, 1000);
  assert.equal(f.client.state, "offline");
});

test("leaving ends the session and does not reconnect", async () => {
  const f = fake.fakeClient();
  const socket = await fake.online(f);
  f.client.close();
  socket.one("Leave");
  assert.equal(socket.closed, 1000);
  await f.timers.advance(60_000);
  assert.equal(f.socket(), socket);
});
