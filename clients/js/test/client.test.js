// Conversations: each entry once and in order, gaps filled, sends that survive, marks, typing.

import assert from "node:assert/strict";
import test from "node:test";
import { textOf } from "../client.js";
import { toHex } from "../codec.js";
import * as fake from "./support/fake.js";

const { ADA, BOB, CHAT } = fake;
const message = (entry) => ["Message", { conversation: CHAT, entry }];
const seqs = (chat) => chat.entries.map((entry) => Number(entry.seq));
const refusal = (request, change = {}) => [
  "Error",
  { request, code: 400, class: 4, retryable: true, retry_after_ms: 100, detail: "", ...change },
];
const sent = (send, seq, change = {}) => [
  "Sent",
  {
    request: send.request,
    conversation: CHAT,
    client_msg_id: send.client_msg_id,
    seq: BigInt(seq),
    time_ms: 1_760_000_000_000n,
    duplicate: false,
    ...change,
  },
];

/** Answers a History request out of entries 1 to `head`. */
function giveHistory(socket, head, floor = 1) {
  const { request, anchor, direction, limit } = socket.one("History");
  const all = [];
  for (let seq = floor; seq <= head; seq += 1) all.push(fake.entry(seq));
  const before = all.filter((entry) => anchor === 0n || entry.seq < anchor).slice(-limit);
  const after = all.filter((entry) => entry.seq > anchor).slice(0, limit);
  const entries = direction === 1 ? before : after;
  socket.receive([
    "HistoryPage",
    {
      request,
      conversation: CHAT,
      entries,
      head: BigInt(head),
      floor: BigInt(floor),
      more: false,
    },
  ]);
  return anchor;
}

test("entries in order are applied once each", async () => {
  const f = fake.fakeClient();
  const { socket, chat } = await fake.chatting(f);
  socket.receive(message(fake.entry(1)), message(fake.entry(2)));
  socket.receive(message(fake.entry(2)), message(fake.entry(1)), message(fake.entry(3)));
  assert.deepEqual(seqs(chat), [1, 2, 3]);
  assert.equal(chat.head, 3n);
  const told = f.events.filter((event) => event.name === "entries").flatMap((e) => e.entries);
  assert.deepEqual(told.map((entry) => Number(entry.seq)), [1, 2, 3]);
});

test("a gap is fetched from history before what lies above it is shown", async () => {
  const f = fake.fakeClient();
  const { socket, chat } = await fake.chatting(f, 2);
  assert.deepEqual(seqs(chat), [2]);
  socket.receive(message(fake.entry(6)), message(fake.entry(7)));
  assert.deepEqual(seqs(chat), [2]);
  assert.equal(giveHistory(socket, 7), 2n);
  await fake.settle();
  assert.deepEqual(seqs(chat), [2, 3, 4, 5, 6, 7]);
  assert.deepEqual(socket.take("History"), []);
});

test("a gap that was trimmed begins the run again at the newest", async () => {
  const f = fake.fakeClient();
  const { socket, chat } = await fake.chatting(f, 2);
  socket.receive(message(fake.entry(9)));
  giveHistory(socket, 9, 7);
  await fake.settle();
  const { request } = socket.one("Describe");
  socket.receive(["Conversation", { request, created: false, info: fake.info(9, { floor: 7n }) }]);
  await fake.settle();
  assert.deepEqual(seqs(chat), [9]);
  assert.ok(f.events.some((event) => event.name === "entries" && event.at === "reset"));
  assert.ok(chat.hasOlder);
});

test("an entry of an unknown conversation asks for its description", async () => {
  const f = fake.fakeClient();
  const { socket } = await fake.chatting(f);
  const other = 0x99n;
  socket.receive(["Message", { conversation: other, entry: fake.entry(1) }]);
  const { request, conversation } = socket.one("Describe");
  assert.equal(conversation, other);
  const info = fake.info(1, { conversation: other });
  socket.receive(["Conversation", { request, created: false, info }]);
  await fake.settle();
  assert.equal(f.client.conversations.get(other).head, 1n);
  assert.deepEqual(seqs(f.client.conversations.get(other)), [1]);
});

test("older entries are loaded in front, one page at a time", async () => {
  const f = fake.fakeClient();
  const { socket, chat } = await fake.chatting(f, 150);
  const both = Promise.all([f.client.loadOlder(chat), f.client.loadOlder(chat)]);
  assert.equal(giveHistory(socket, 150), 150n);
  assert.deepEqual(await both, [true, true]);
  assert.equal(chat.entries.length, 101);
  const next = f.client.loadOlder(chat);
  giveHistory(socket, 150);
  assert.equal(await next, false);
  assert.deepEqual(seqs(chat), Array.from({ length: 150 }, (_, i) => i + 1));
});

test("an own message is pending until it is sent, then an entry", async () => {
  const f = fake.fakeClient();
  const { socket, chat } = await fake.chatting(f);
  f.client.sendText(chat, "hello");
  assert.equal(f.client.pending(chat).length, 1);
  const send = socket.one("Send");
  assert.equal(send.retry, false);
  assert.equal(toHex(send.client_msg_id)[12], "7");
  socket.receive(sent(send, 1));
  assert.equal(f.client.pending(chat).length, 0);
  assert.deepEqual(seqs(chat), [1]);
  assert.equal(textOf(chat.entries[0]), "hello");
  assert.equal(chat.entries[0].sender, ADA);
});

test("sends of a conversation go out one after the other, in order", async () => {
  const f = fake.fakeClient();
  const { socket, chat } = await fake.chatting(f);
  for (const text of ["one", "two", "three"]) f.client.sendText(chat, text);
  const texts = [];
  for (let seq = 1; seq <= 3; seq += 1) {
    const send = socket.one("Send");
    texts.push(textOf(send));
    socket.receive(sent(send, seq));
  }
  assert.deepEqual(texts, ["one", "two", "three"]);
});

test("a lost connection retries an unanswered send with the same id", async () => {
  const f = fake.fakeClient();
  const { socket: first, chat } = await fake.chatting(f);
  f.client.sendText(chat, "hello");
  const send = first.one("Send");
  const { socket } = await fake.reconnect(f);
  socket.receive(fake.welcome({ resumed: true }));
  await f.timers.advance(0);
  const again = socket.one("Send");
  assert.equal(again.retry, true);
  assert.deepEqual(again.client_msg_id, send.client_msg_id);
  socket.receive(sent(again, 1, { duplicate: true }));
  assert.equal(f.client.pending(chat).length, 0);
  assert.deepEqual(seqs(chat), [1]);
});

test("an answer in the replay spares the retry", async () => {
  const f = fake.fakeClient();
  const { socket: first, chat } = await fake.chatting(f);
  f.client.sendText(chat, "hello");
  const send = first.one("Send");
  const { socket } = await fake.reconnect(f);
  socket.receive(fake.welcome({ resumed: true }), sent(send, 1));
  await f.timers.advance(0);
  assert.deepEqual(socket.take("Send"), []);
  assert.deepEqual(seqs(chat), [1]);
});

test("a message with the id of a pending send is its answer", async () => {
  const f = fake.fakeClient();
  const { socket: first, chat } = await fake.chatting(f);
  f.client.sendText(chat, "hello");
  const { client_msg_id } = first.one("Send");
  const { socket } = await fake.reconnect(f);
  const own = fake.entry(1, "hello", { sender: ADA, client_msg_id });
  socket.receive(fake.welcome({ session: 6n }), message(own));
  await f.timers.advance(0);
  assert.deepEqual(socket.take("Send"), []);
  assert.equal(f.client.pending(chat).length, 0);
  assert.deepEqual(seqs(chat), [1]);
});

test("a duplicate answer ahead of the run fetches what is between", async () => {
  const f = fake.fakeClient();
  const { socket: first, chat } = await fake.chatting(f);
  f.client.sendText(chat, "hello");
  first.one("Send");
  const { socket } = await fake.reconnect(f);
  socket.receive(fake.welcome({ resumed: true }));
  await f.timers.advance(0);
  socket.receive(sent(socket.one("Send"), 3, { duplicate: true }));
  giveHistory(socket, 3);
  await fake.settle();
  assert.deepEqual(seqs(chat), [1, 2, 3]);
});

test("a retryable refusal waits, then retries; a final one fails the message", async () => {
  const f = fake.fakeClient();
  const { socket, chat } = await fake.chatting(f);
  f.client.sendText(chat, "one");
  f.client.sendText(chat, "two");
  socket.receive(refusal(socket.one("Send").request));
  await f.timers.advance(99);
  assert.deepEqual(socket.take("Send"), []);
  await f.timers.advance(1000);
  const again = socket.one("Send");
  assert.equal(again.retry, true);
  assert.equal(textOf(again), "one");
  socket.receive(refusal(again.request, { code: 303, class: 3, retryable: false }));
  assert.equal(f.client.pending(chat)[0].failed, "error 303");
  assert.equal(textOf(socket.one("Send")), "two");
  f.client.retry(f.client.pending(chat)[0]);
  assert.deepEqual(f.client.pending(chat).map(textOf), ["two", "one"]);
});

test("a send without answer is repeated after ten seconds", async () => {
  const f = fake.fakeClient();
  const { socket, chat } = await fake.chatting(f);
  f.client.sendText(chat, "hello");
  const send = socket.one("Send");
  socket.receive(["Pong", { nonce: 0 }]);
  await f.timers.advance(10_000);
  const again = socket.one("Send");
  assert.equal(again.retry, true);
  assert.deepEqual(again.client_msg_id, send.client_msg_id);
});

test("what is typed offline waits in the store and is sent after a restart", async () => {
  let kept = [];
  const store = { load: () => kept, save: (sends) => (kept = JSON.parse(JSON.stringify(sends))) };
  const before = fake.fakeClient({ store });
  const { socket: first, chat } = await fake.chatting(before);
  before.client.sendText(chat, "under way");
  const underWay = first.one("Send");
  before.client.sendText(chat, "waits");
  const after = fake.fakeClient({ store });
  const { socket } = await fake.chatting(after);
  await after.timers.advance(0);
  const again = socket.one("Send");
  assert.equal(again.retry, true);
  assert.deepEqual(again.client_msg_id, underWay.client_msg_id);
  socket.receive(sent(again, 1, { duplicate: true }));
  const next = socket.one("Send");
  assert.equal(next.retry, false);
  assert.equal(textOf(next), "waits");
  socket.receive(sent(next, 2));
  assert.deepEqual(kept, []);
});

test("a message older than the service remembers is not repeated by itself", async () => {
  const kept = {
    id: "00".repeat(16),
    conversation: String(CHAT),
    kind: 1,
    body: "6869",
    createdMs: 1_760_000_000_000 - 8 * 24 * 3600 * 1000,
    attempts: 1,
    failed: null,
  };
  const f = fake.fakeClient({ store: { load: () => [kept], save: () => {} } });
  const { socket, chat } = await fake.chatting(f);
  await f.timers.advance(0);
  assert.deepEqual(socket.take("Send"), []);
  assert.equal(f.client.pending(chat)[0].failed, "too old");
});

test("TooFar takes the new cursor, and the list shows what is missing", async () => {
  const f = fake.fakeClient();
  const { chat } = await fake.chatting(f, 2);
  const { socket } = await fake.reconnect(f);
  socket.receive(fake.welcome({ session: 6n }));
  const { request } = socket.one("Sync");
  socket.receive(["TooFar", { request, cursor: fake.cursor(9) }]);
  await fake.settle();
  const list = socket.one("Conversations");
  const page = { request: list.request, conversations: [fake.info(4)], next: null };
  socket.receive(["ConversationPage", page]);
  await fake.settle();
  giveHistory(socket, 4);
  await fake.settle();
  assert.deepEqual(seqs(chat), [2, 3, 4]);
  const next = await fake.reconnect(f);
  next.socket.receive(fake.welcome({ session: 7n }));
  assert.deepEqual(next.socket.one("Sync").cursor, fake.cursor(9));
});

test("a request whose answer was lost is asked again", async () => {
  const f = fake.fakeClient();
  const { socket: first } = await fake.chatting(f);
  const opened = f.client.openDirect("bob");
  first.one("OpenDirect");
  const { socket } = await fake.reconnect(f);
  socket.receive(fake.welcome({ resumed: true }));
  const { request, name } = socket.one("OpenDirect");
  assert.equal(name, "bob");
  socket.receive(["Conversation", { request, created: true, info: fake.info(0) }]);
  assert.equal((await opened).id, CHAT);
});

test("a refused request rejects with its code", async () => {
  const f = fake.fakeClient();
  const { socket } = await fake.chatting(f);
  const opened = f.client.openDirect("nobody");
  const { request } = socket.one("OpenDirect");
  socket.receive(refusal(request, { code: 300, class: 3, retryable: false }));
  await assert.rejects(opened, { name: "RequestError", code: 300 });
});

test("what arrives is marked delivered, what is seen is marked read, joined", async () => {
  const f = fake.fakeClient();
  const { socket, chat } = await fake.chatting(f);
  socket.receive(message(fake.entry(1)), message(fake.entry(2)));
  assert.equal(chat.unread(ADA), 2);
  await f.timers.advance(150);
  assert.deepEqual(socket.take("Mark"), [{ frame: "Mark", conversation: CHAT, kind: 1, seq: 2n }]);
  f.client.markRead(chat);
  assert.equal(chat.unread(ADA), 0);
  await f.timers.advance(150);
  assert.deepEqual(socket.take("Mark"), [{ frame: "Mark", conversation: CHAT, kind: 2, seq: 2n }]);
  f.client.markRead(chat, 1n);
  await f.timers.advance(150);
  assert.deepEqual(socket.take("Mark"), []);
});

test("marks that may be lost are told again on the next connection", async () => {
  const f = fake.fakeClient();
  const { socket: first, chat } = await fake.chatting(f);
  first.receive(message(fake.entry(1)));
  f.client.markRead(chat);
  await f.timers.advance(150);
  assert.equal(first.take("Mark").length, 1);
  const { socket } = await fake.reconnect(f);
  socket.receive(fake.welcome({ resumed: true }));
  await f.timers.advance(150);
  assert.deepEqual(socket.take("Mark"), [{ frame: "Mark", conversation: CHAT, kind: 2, seq: 1n }]);
  socket.receive(["Receipt", { conversation: CHAT, user: ADA, kind: 2, seq: 1n }]);
  const next = await fake.reconnect(f);
  next.socket.receive(fake.welcome({ resumed: true }));
  await f.timers.advance(150);
  assert.deepEqual(next.socket.take("Mark"), []);
});

test("receipts move marks forward only, and tell an entry's fate", async () => {
  const f = fake.fakeClient();
  const { socket, chat } = await fake.chatting(f);
  const receipt = (kind, seq) => ["Receipt", { conversation: CHAT, user: BOB, kind, seq }];
  assert.equal(chat.fate(2n, ADA), "sent");
  socket.receive(receipt(1, 2n), receipt(1, 1n));
  assert.equal(chat.fate(2n, ADA), "delivered");
  socket.receive(receipt(2, 2n));
  assert.equal(chat.fate(2n, ADA), "read");
  assert.equal(chat.fate(3n, ADA), "sent");
});

test("typing holds six seconds, or until a message comes", async () => {
  const f = fake.fakeClient();
  const { socket, chat } = await fake.chatting(f);
  const typing = ["Typing", { conversation: CHAT, user: BOB, active: true }];
  socket.receive(typing);
  assert.ok(chat.typing.has(BOB));
  await f.timers.advance(6000);
  assert.ok(!chat.typing.has(BOB));
  socket.receive(typing, message(fake.entry(1)));
  assert.ok(!chat.typing.has(BOB));
});

test("own typing is told at most every three seconds", async () => {
  const f = fake.fakeClient();
  const { socket, chat } = await fake.chatting(f);
  for (let key = 0; key < 10; key += 1) f.client.setTyping(chat, true);
  assert.equal(socket.take("SetTyping").length, 1);
  await f.timers.advance(3000);
  f.client.setTyping(chat, true);
  f.client.setTyping(chat, false);
  f.client.setTyping(chat, false);
  assert.deepEqual(socket.take("SetTyping").map((frame) => frame.active), [true, false]);
});

test("who is watched is watched again in a new session, not in a resumed one", async () => {
  const f = fake.fakeClient();
  const { socket: first } = await fake.chatting(f);
  f.client.watch([BOB]);
  f.client.watch([BOB]);
  const { request, users } = first.one("Watch");
  assert.deepEqual(users, [BOB]);
  first.receive(["Presence", { user: BOB, status: 1, last_seen_ms: 0n }], ["Done", { request }]);
  assert.equal(f.client.presence.get(BOB).status, 1);
  const resumed = await fake.reconnect(f);
  resumed.socket.receive(fake.welcome({ resumed: true }));
  assert.deepEqual(resumed.socket.take("Watch"), []);
  const fresh = await fake.reconnect(f);
  fresh.socket.receive(fake.welcome({ session: 6n }));
  assert.deepEqual(fresh.socket.one("Watch").users, [BOB]);
});

test("no more requests are under way than the service allows", async () => {
  const f = fake.fakeClient();
  const narrow = { ...fake.limits, requests_in_flight: 2 };
  const socket = await fake.online(f, { limits: narrow });
  for (const name of ["bob", "eve", "joe"]) f.client.openDirect(name).catch(() => {});
  const { request } = socket.one("Sync");
  assert.deepEqual(socket.take("OpenDirect").map(({ name }) => name), ["bob"]);
  socket.receive(["CaughtUp", { request, cursor: fake.cursor(1) }]);
  assert.equal(socket.take("OpenDirect").length, 1);
});
