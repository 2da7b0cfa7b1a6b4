// The page: who is logged in, which screen is shown, and how the connection is.
//
// Every tab is a session of its own of the same device. The address's fragment says which chat is
// open (`#/c/<id>`), so the browser's back button leads from a chat to the list.

import { Client, Tokens } from "/client/client.js";
import { idText } from "/client/codec.js";
import { People } from "/client/people.js";
import { showAuth, wireAuth } from "./auth.js";
import { ChatView } from "./chat.js";
import { byId, setText } from "./dom.js";
import { peerOf } from "./format.js";
import { GroupView } from "./group.js";
import { ListView } from "./list.js";
import { OwnView } from "./own.js";
import { clearNotices, showNotice } from "./notice.js";
import { exclusively, loadTokens, onTokensChanged, openPendingStore, saveTokens } from "./storage.js";
import { workerTimers } from "./timers.js";

const timers = workerTimers();
/** The log-in that is shown; null on the first screen. */
let session = null;

class Session {
  #gone = new AbortController();
  #list;
  #chat;
  #own;
  #group;
  #joining = null;
  #givenUp = false;

  constructor(tokens, store) {
    this.user = tokens.user;
    const keeper = new Tokens({
      base: location.href,
      load: loadTokens,
      save: saveTokens,
      lock: exclusively,
    });
    const here = new URL("/v1/ws", location.href);
    here.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const urls = [here.href, tokens.websocket, ...(tokens.endpoints ?? [])].filter(Boolean);
    this.client = new Client({
      urls: [...new Set(urls)],
      token: (wish) => keeper.access(wish),
      store,
      timers,
      agent: "rookery-web/0.1",
    });
    const { signal } = this.#gone;
    const announce = (text) => this.#announce(text);
    const people = new People(this.client, () => signal.aborted || this.#ownChanged());
    this.#list = new ListView(this.client, people, (chat) => this.#go(chat), signal);
    this.#chat = new ChatView(this.client, announce, signal);
    this.#own = new OwnView(this.client, people, announce, signal);
    this.#group = new GroupView(this.client, (conversation) => this.#go(conversation), signal);
    this.#wire(signal);
    setText(byId("me"), tokens.name);
    byId("auth").hidden = true;
    byId("app").hidden = false;
    this.client.connect();
    this.#route();
  }

  #wire(signal) {
    const { client } = this;
    client.on("state", (state) => this.#stateChanged(state));
    client.on("conversation", ({ conversation }) => this.#described(conversation));
    client.on("notice", showNotice);
    client.on("fault", (error) => console.warn("rookery", error));
    addEventListener("hashchange", () => this.#route(true), { signal });
    addEventListener("online", () => client.hurry(), { signal });
    const visible = () => document.visibilityState === "visible" && client.hurry();
    document.addEventListener("visibilitychange", visible, { signal });
    byId("logout").addEventListener("click", () => signOut(""), { signal });
    const retry = () => (this.#givenUp ? client.connect() : client.hurry());
    byId("connection-retry").addEventListener("click", retry, { signal });
  }

  /** Ends the log-in on this page. */
  end() {
    this.#gone.abort();
    this.client.close();
    clearNotices();
    this.#chat.show(null);
  }

  #go(conversation) {
    const fragment = `#/c/${idText(conversation.id)}`;
    if (location.hash === fragment) this.#route(true);
    else location.hash = fragment;
  }

  /** Shows what the address names. */
  #route(byUser = false) {
    const id = /^#\/c\/([0-9a-f]{16})$/.exec(location.hash)?.[1];
    const conversation = id && this.client.conversations.get(BigInt(`0x${id}`));
    const open = conversation?.ready ? conversation : null;
    byId("app").dataset.screen = open ? "chat" : "list";
    // Back in the list, the focus is on the chat one comes from.
    if (!open && byUser) this.#list.focus();
    this.#list.select(open);
    this.#chat.show(open);
    this.#own.show(open);
    this.#group.select(open);
    void this.#join();
    if (open && byUser) this.#chat.focus();
  }

  /** Follows a link into a group, once. */
  async #join() {
    const [, id, secret] = /^#\/join\/([0-9a-f]{16})\/([0-9a-f]{32})$/.exec(location.hash) ?? [];
    if (!id || this.#joining === location.hash) return;
    this.#joining = location.hash;
    const group = BigInt(`0x${id}`);
    try {
      if (!this.client.conversations.get(group)?.ready) await this.#group.join(group, secret);
    } catch (error) {
      console.warn("rookery", "this link does not lead into the group", error.code);
    }
    location.hash = `#/c/${id}`;
  }

  #described(conversation) {
    if (location.hash === `#/c/${idText(conversation.id)}`) this.#group.select(conversation);
    const peer = peerOf(conversation, this.client.me);
    if (peer) this.client.watch([peer.user]);
    // The address may have named it before it was known.
    if (location.hash === `#/c/${idText(conversation.id)}`) this.#route();
  }

  #ownChanged() {
    this.#list.render();
    this.#own.render();
  }

  #announce(text) {
    setText(byId("announcer"), text);
  }

  // ---- connection -------------------------------------------------------------------------------

  #stateChanged({ state, reason }) {
    if (reason === "signed-out") return signOut("Your log-in has ended. Please log in again.");
    if (reason === "stopped") return;
    // Given up: only the user begins again.
    this.#givenUp = reason === "replaced" || reason === "refused";
    const offline = this.#givenUp ? "Disconnected." : "No connection. Messages are sent later.";
    byId("connection").dataset.state = state;
    byId("connection-retry").hidden = state !== "offline";
    setText(byId("connection-text"), { online: "", connecting: "Connecting…", offline }[state]);
  }
}

async function signIn(tokens) {
  if (session) session.end();
  session = null;
  session = new Session(tokens, await openPendingStore(tokens.user));
}

function signOut(note) {
  session?.end();
  session = null;
  saveTokens(null);
  history.replaceState(null, "", location.pathname);
  showAuth(note);
}

wireAuth((tokens) => {
  saveTokens(tokens);
  void signIn(tokens);
});

onTokensChanged((tokens) => {
  if (session && !tokens) signOut("You logged out in another tab.");
  else if (tokens && tokens.user !== session?.user) location.reload();
});

const kept = loadTokens();
if (kept) void signIn(kept);
else showAuth();
