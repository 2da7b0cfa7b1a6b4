// Groups: changes are sent like messages, entries of them are told, and who left hears no more.

import assert from "node:assert/strict";
import test from "node:test";
import { EntryKind, GroupAction, MarkKind } from "../codec.js";
import { asLogged, decodeChange, encodeChange, ends, groupId, newSecret } from "../groups.js";
import * as fake from "./support/fake.js";

const { ADA, BOB, CHAT } = fake;

const group = (head, change = {}) => fake.info(head, { kind: 2, title: "Lunch", ...change });
const entry = (seq, change, more = {}) =>
  fake.entry(seq, "", { kind: EntryKind.Group, body: encodeChange(change), ...more });

/** A client in a group whose newest entry is `head`. */
async function inGroup(head) {
  const f = fake.fakeClient();
  const { socket, chat } = await fake.chatting(f, head);
  chat.describe(group(head));
  return { f, socket, chat };
}

const sent = (send, seq) => [
  "Sent",
  {
    request: send.request,
    conversation: send.conversation,
    client_msg_id: send.client_msg_id,
    seq: BigInt(seq),
    time_ms: 1_760_000_000_000n,
    duplicate: false,
  },
];

test("a new group has the id that its message ends with", async () => {
  const f = fake.fakeClient();
  const { socket } = await fake.chatting(f);
  const made = f.client.change({ action: GroupAction.Create, users: [BOB], text: "Lunch" });
  const send = socket.one("Send");
  assert.equal(send.kind, EntryKind.Group);
  assert.equal(send.conversation, groupId(send.client_msg_id));
  assert.deepEqual(decodeChange(send.body), { action: 1, users: [BOB], value: 0, text: "Lunch" });
  socket.receive(sent(send, 1));
  assert.equal(await made, send.conversation);
});

test("a change that is refused is told to who wanted it, and is no failed message", async () => {
  const { f, socket, chat } = await inGroup(1);
  const change = f.client.change({ action: GroupAction.Rename, text: "Dinner" }, chat);
  const { request } = socket.one("Send");
  assert.deepEqual(f.client.pending(chat), []);
  const error = { request, code: 206, class: 2, retryable: false, retry_after_ms: 0, detail: "" };
  socket.receive(["Error", error]);
  await assert.rejects(change, { code: 206 });
  assert.deepEqual(f.client.pending(chat), []);
});

test("an entry of a change asks who the members are, and those who left are gone", async () => {
  const { f, socket, chat } = await inGroup(1);
  const removed = entry(2, { action: GroupAction.Remove, users: [BOB] });
  socket.receive(["Message", { conversation: CHAT, entry: removed }]);
  const { request } = socket.one("Describe");
  const members = [{ user: ADA, name: "ada", role: 3, delivered: 2n, read: 1n }];
  socket.receive(["Conversation", { request, created: false, info: group(2, { members }) }]);
  await fake.settle();
  assert.deepEqual([...chat.members.keys()], [ADA]);
  assert.equal(chat.left, false);
});

test("the entry that ends the membership is the last, and marks are sent no more", async () => {
  const { f, socket, chat } = await inGroup(1);
  await f.timers.advance(1000);
  socket.take("Mark");
  const removed = entry(2, { action: GroupAction.Remove, users: [ADA] });
  socket.receive(["Message", { conversation: CHAT, entry: removed }]);
  assert.equal(chat.left, true);
  assert.deepEqual(socket.take("Describe"), []);
  await f.timers.advance(1000);
  assert.deepEqual(socket.take("Mark"), []);
});

test("a description that was read before the membership ended brings nobody back", async () => {
  const { socket, chat } = await inGroup(1);
  const renamed = entry(2, { action: GroupAction.Rename, text: "new" });
  socket.receive(["Message", { conversation: CHAT, entry: renamed }]);
  const { request } = socket.one("Describe");
  const removed = entry(3, { action: GroupAction.Remove, users: [ADA] });
  socket.receive(["Message", { conversation: CHAT, entry: removed }]);
  assert.equal(chat.left, true);
  socket.receive(["Conversation", { request, created: false, info: group(2) }]);
  await fake.settle();
  assert.equal(chat.left, true);
  // Added again, they are told so by an entry above.
  const added = entry(4, { action: GroupAction.Add, users: [ADA] });
  socket.receive(["Message", { conversation: CHAT, entry: added }]);
  const again = socket.one("Describe");
  socket.receive(["Conversation", { request: again.request, created: false, info: group(4) }]);
  await fake.settle();
  assert.equal(chat.left, false);
});

test("a change that comes while a description is under way is asked for after it", async () => {
  const { socket, chat } = await inGroup(1);
  const change = (seq) => entry(seq, { action: GroupAction.Rename, text: `title ${seq}` });
  socket.receive(["Message", { conversation: CHAT, entry: change(2) }]);
  const first = socket.one("Describe");
  socket.receive(["Message", { conversation: CHAT, entry: change(3) }]);
  assert.deepEqual(socket.take("Describe"), []);
  socket.receive(["Conversation", { request: first.request, created: false, info: group(2, { title: "title 2" }) }]);
  await fake.settle();
  const second = socket.one("Describe");
  socket.receive(["Conversation", { request: second.request, created: false, info: group(3, { title: "title 3" }) }]);
  await fake.settle();
  assert.equal(chat.title, "title 3");
});

test("how far everybody got raises every member's marks", async () => {
  const { socket, chat } = await inGroup(2);
  socket.receive(["Receipt", { conversation: CHAT, user: 0n, kind: MarkKind.Read, seq: 2n }]);
  assert.equal(chat.fate(2n, ADA), "read");
});

test("a secret stays out of what is kept of a change", () => {
  const text = newSecret();
  assert.match(text, /^[0-9a-f]{32}$/);
  const join = encodeChange({ action: GroupAction.Join, text });
  assert.equal(decodeChange(asLogged(join)).text, "");
  const rename = encodeChange({ action: GroupAction.Rename, text });
  assert.equal(asLogged(rename), rename);
  assert.equal(decodeChange(new Uint8Array([4, 250])), null);
  assert.ok(ends(entry(3, { action: GroupAction.Leave }), BOB));
  assert.ok(!ends(entry(3, { action: GroupAction.Leave }), ADA));
});
