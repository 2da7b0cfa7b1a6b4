// Contacts, blocks, muted and archived conversations, privacy: in step with the user's other devices.

import assert from "node:assert/strict";
import test from "node:test";
import { Audience, OwnKind } from "../codec.js";
import { FOR_GOOD, People } from "../people.js";
import * as fake from "./support/fake.js";

const { ADA, BOB, CHAT, settle } = fake;
const EVE = 0xe5en;

/** A client with its people loaded, and how often it was told of a change. */
async function withPeople(people = [], state = {}) {
  const f = fake.fakeClient();
  const changes = { count: 0 };
  const own = new People(f.client, () => (changes.count += 1));
  const { socket } = await fake.chatting(f, 1);
  answerPeople(socket, people);
  answerStates(socket, state);
  answerPrivacy(socket, Audience.Everyone);
  await settle();
  return { f, own, socket, changes };
}

function answerPeople(socket, people, next = null) {
  const asked = socket.one("People");
  socket.receive(["PeoplePage", { request: asked.request, people, next }]);
  return asked;
}

function answerStates(socket, change = {}) {
  const asked = socket.one("OwnStates");
  const plain = { muted_until_ms: 0n, archived: false, unread: false, ...change };
  const states = asked.conversations.map((conversation) => ({ conversation, ...plain }));
  socket.receive(["OwnStatePage", { request: asked.request, states }]);
  return asked;
}

function answerPrivacy(socket, presence) {
  const { request } = socket.one("GetPrivacy");
  const everyone = Audience.Everyone;
  const fields = { request, presence, last_seen: everyone, receipts: everyone };
  socket.receive(["Privacy", fields]);
}

const bob = (change = {}) => ({ user: BOB, name: "bob", contact: true, blocked: false, ...change });

test("everything is fetched once the list of conversations is there", async () => {
  const { own } = await withPeople([bob()], { archived: true, muted_until_ms: FOR_GOOD });
  assert.equal(own.of(BOB).contact, true);
  assert.equal(own.of(EVE).blocked, false);
  assert.equal(own.stateOf(CHAT).archived, true);
  assert.equal(own.isMuted(CHAT, 1_760_000_000_000.5), true);
  assert.equal(own.isMuted(0x99n, 0), false);
});

test("people come by pages", async () => {
  const f = fake.fakeClient();
  const own = new People(f.client);
  const { socket } = await fake.chatting(f, 1);
  answerPeople(socket, [bob()], BOB);
  await settle();
  assert.equal(answerPeople(socket, [bob({ user: EVE })]).after, BOB);
  await settle();
  assert.deepEqual([...own.people.keys()], [BOB, EVE]);
});

test("what another device changed is asked for again, and nothing else", async () => {
  const { own, socket, changes } = await withPeople();
  const before = changes.count;
  socket.receive(["OwnChanged", { kind: OwnKind.Person, id: BOB }]);
  await settle();
  answerPeople(socket, [bob({ blocked: true })]);
  await settle();
  assert.equal(own.of(BOB).blocked, true);
  socket.receive(["OwnChanged", { kind: OwnKind.Conversation, id: CHAT }]);
  await settle();
  assert.deepEqual(answerStates(socket, { unread: true }).conversations, [CHAT]);
  await settle();
  assert.equal(own.stateOf(CHAT).unread, true);
  socket.receive(["OwnChanged", { kind: OwnKind.Privacy, id: 0n }]);
  await settle();
  answerPrivacy(socket, Audience.Nobody);
  await settle();
  assert.equal(own.privacy.presence, Audience.Nobody);
  assert.equal(changes.count, before + 3);
  socket.receive(["OwnChanged", { kind: 99, id: 0n }]);
  await settle();
  const asked = ["People", "OwnStates", "GetPrivacy"].flatMap((name) => socket.take(name));
  assert.deepEqual(asked, [], "a kind of a newer version asks nothing");
});

test("a change is made at the service, then shown", async () => {
  const { own, socket } = await withPeople();
  const blocking = own.setBlocked(BOB, true);
  await settle();
  const asked = socket.one("SetBlocked");
  assert.deepEqual([asked.user, asked.blocked, own.of(BOB).blocked], [BOB, true, false]);
  socket.receive(["Done", { request: asked.request }]);
  await settle();
  answerPeople(socket, [bob({ blocked: true })]);
  await blocking;
  assert.equal(own.of(BOB).blocked, true);

  const muting = own.setState(CHAT, { muted_until_ms: FOR_GOOD });
  await settle();
  const state = socket.one("SetOwnState");
  assert.deepEqual([state.muted_until_ms, state.archived, state.unread], [FOR_GOOD, null, null]);
  socket.receive(["Done", { request: state.request }]);
  await settle();
  answerStates(socket, { muted_until_ms: FOR_GOOD });
  await muting;

  const hiding = own.setPrivacy({ receipts: Audience.Nobody });
  await settle();
  const privacy = socket.one("SetPrivacy");
  assert.deepEqual([privacy.presence, privacy.receipts], [Audience.Everyone, Audience.Nobody]);
  socket.receive(["Done", { request: privacy.request }]);
  await settle();
  answerPrivacy(socket, Audience.Everyone);
  await hiding;
});

test("what is refused is the caller's to know, and changes nothing", async () => {
  const { own, socket } = await withPeople([bob()]);
  const blocking = own.setBlocked(EVE, true);
  await settle();
  const { request } = socket.one("SetBlocked");
  const error = { request, code: 300, class: 3, retryable: false, retry_after_ms: 0, detail: "" };
  socket.receive(["Error", error]);
  await assert.rejects(blocking, (refused) => refused.code === 300);
  assert.equal(own.of(EVE).blocked, false);
});

test("away is told, and again to a new session", async () => {
  const { f, socket } = await withPeople();
  f.client.setAway(true);
  assert.equal(socket.one("SetAway").away, true);
  const { socket: next } = await fake.reconnect(f);
  next.receive(fake.welcome({ session: 6n }));
  await settle();
  assert.equal(next.one("SetAway").away, true);
  f.client.setAway(false);
  const { socket: third } = await fake.reconnect(f);
  third.receive(fake.welcome({ session: 7n }));
  await settle();
  assert.equal(third.take("SetAway").length, 0);
  assert.equal(f.client.me.user, ADA);
});
