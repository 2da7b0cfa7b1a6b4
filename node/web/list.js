// The list of chats: names, last message, time, unread badges, presence; and starting a chat.

import { textOf } from "/client/client.js";
import { idText, Status } from "/client/codec.js";
import { byId, coalesced, el, fillAvatar, icon, setText } from "./dom.js";
import { nameOf, peerOf, shortText } from "./format.js";
import { changeText } from "./group.js";

const UNKNOWN_USER = 300;
const SELF_CONVERSATION = 307;

/** What the ticks of an own message say. */
export const FATE = {
  pending: ["clock", "Waiting to be sent"],
  failed: ["alert", "Not sent"],
  sent: ["tick", "Sent"],
  delivered: ["ticks", "Delivered"],
  read: ["ticks", "Read"],
};

export class ListView {
  #client;
  #people;
  /** The archived chats are shown instead of the others. */
  #archive = false;
  #open;
  #items = new Map();
  #loaded = false;
  #current = null;

  /**
   * @param {Client} client
   * @param {People} people
   * @param {(conversation: Conversation) => void} open shows a chat
   * @param {AbortSignal} gone the end of the log-in
   */
  constructor(client, people, open, gone) {
    this.#client = client;
    this.#people = people;
    this.#open = open;
    const update = coalesced(() => gone.aborted || this.render());
    for (const event of ["conversation", "entries", "pending", "typing", "presence", "state"]) {
      client.on(event, update);
    }
    client.on("loaded", () => {
      this.#loaded = true;
      update();
    });
    byId("conversations").replaceChildren();
    byId("new-chat").addEventListener("submit", (event) => this.#newChat(event), { signal: gone });
    const toggle = () => {
      this.#archive = !this.#archive;
      this.render();
    };
    byId("archive-toggle").addEventListener("click", toggle, { signal: gone });
    this.render();
  }

  /** Marks the chat that is shown. */
  select(conversation) {
    this.#current = conversation;
    this.render();
  }

  /** Puts the focus on the chat that was shown. */
  focus() {
    this.#items.get(this.#current?.id)?.link.focus({ preventScroll: true });
  }

  async #newChat(event) {
    event.preventDefault();
    const input = byId("new-chat-name");
    const error = byId("new-chat-error");
    const name = input.value.trim().toLowerCase();
    error.textContent = "";
    if (!name) return input.focus();
    if (this.#client.state !== "online") {
      error.textContent = "Not connected. The chat opens once the connection is back.";
    }
    try {
      const conversation = await this.#client.openDirect(name);
      error.textContent = "";
      input.value = "";
      this.#open(conversation);
    } catch (failure) {
      const says = {
        [UNKNOWN_USER]: `Nobody here is called “${name}”.`,
        [SELF_CONVERSATION]: "That is you.",
      };
      error.textContent = says[failure.code] ?? "That did not work. Try again.";
      input.focus();
    }
  }

  render() {
    const client = this.#client;
    const all = [...client.conversations.values()].filter((one) => one.ready);
    const archived = (one) => this.#people.stateOf(one.id).archived;
    const put = all.filter(archived).length;
    if (put === 0) this.#archive = false;
    const shown = all.filter((one) => archived(one) === this.#archive);
    shown.sort((a, b) => (a.activeMs < b.activeMs ? 1 : a.activeMs > b.activeMs ? -1 : 0));
    const list = byId("conversations");
    shown.forEach((conversation, at) => {
      const item = this.#item(conversation);
      // Moved only when out of place: moving an element takes the focus from it.
      if (list.children[at] !== item.node) list.insertBefore(item.node, list.children[at] ?? null);
      this.#fill(item, conversation);
    });
    // What was put away or brought back leaves the list.
    while (list.children.length > shown.length) list.lastElementChild.remove();
    setText(byId("list-note"), this.#note(shown.length));
    const toggle = byId("archive-toggle");
    toggle.hidden = put === 0;
    toggle.setAttribute("aria-pressed", String(this.#archive));
    setText(toggle, this.#archive ? "Back to the chats" : `Archived (${put})`);
    const unread = all.filter((one) => !archived(one) && this.#isUnread(one)).length;
    document.title = unread > 0 ? `(${unread}) Rookery` : "Rookery";
  }

  /** Whether to draw the eye: not when it is muted. */
  #isUnread(conversation) {
    if (this.#people.isMuted(conversation.id, this.#client.now())) return false;
    const marked = this.#people.stateOf(conversation.id).unread;
    return marked || conversation.unread(this.#client.me?.user) > 0;
  }

  #note(count) {
    if (count > 0) return "";
    return this.#loaded ? "No chats yet. Start one with somebody’s name." : "Loading…";
  }

  #item(conversation) {
    const known = this.#items.get(conversation.id);
    if (known) return known;
    const item = {
      avatar: el("span", { class: "avatar", "aria-hidden": "true" }),
      name: el("span", { class: "item-name" }),
      time: el("span", { class: "item-time" }),
      fate: el("span", { class: "item-fate" }),
      last: el("span", { class: "item-last" }),
      badge: el("span", { class: "badge", "data-testid": "unread-badge" }),
      unread: el("span", { class: "visually-hidden" }),
      muted: icon("muted", "Muted"),
    };
    item.muted.classList.add("item-muted");
    item.link = el(
      "a",
      {
        href: `#/c/${idText(conversation.id)}`,
        class: "item",
        "data-testid": "conversation-item",
        "data-conversation": idText(conversation.id),
      },
      item.avatar,
      item.name,
      item.time,
      el("span", { class: "item-line" }, item.fate, item.last, item.muted),
      item.badge,
      item.unread,
    );
    item.node = el("li", {}, item.link);
    this.#items.set(conversation.id, item);
    return item;
  }

  #fill(item, conversation) {
    const client = this.#client;
    const name = nameOf(conversation, client.me);
    const peer = peerOf(conversation, client.me);
    item.link.dataset.name = name;
    item.link.toggleAttribute("data-current", conversation === this.#current);
    if (conversation === this.#current) item.link.setAttribute("aria-current", "true");
    else item.link.removeAttribute("aria-current");
    fillAvatar(item.avatar, name, peer?.user ?? conversation.id);
    const status = client.state === "online" && client.presence.get(peer?.user)?.status;
    item.avatar.toggleAttribute("data-online", status === Status.Online);
    setText(item.name, name);
    const { text, fate, ms } = this.#last(conversation);
    setText(item.last, text);
    item.link.toggleAttribute("data-typing", conversation.typing.size > 0);
    if (item.fate.dataset.state !== fate) {
      item.fate.dataset.state = fate;
      item.fate.replaceChildren(...(fate ? [icon(...FATE[fate])] : []));
    }
    setText(item.time, ms > 0 ? shortText(ms, client.now()) : "");
    const unread = conversation.unread(client.me?.user);
    const marked = unread === 0 && this.#people.stateOf(conversation.id).unread;
    setText(item.badge, unread > 999 ? "999+" : unread > 0 ? String(unread) : marked ? "•" : "");
    item.badge.hidden = unread === 0 && !marked;
    setText(item.unread, unread > 0 || marked ? "unread" : "");
    const muted = this.#people.isMuted(conversation.id, client.now());
    item.muted.toggleAttribute("hidden", !muted);
  }

  #last(conversation) {
    const me = this.#client.me?.user;
    const pending = this.#client.pending(conversation).at(-1);
    const entry = conversation.last;
    const ms = Number(conversation.activeMs);
    if (conversation.typing.size > 0) return { text: "typing…", fate: "", ms };
    if (pending) {
      const fate = pending.failed === null ? "pending" : "failed";
      return { text: textOf(pending) ?? "", fate, ms: pending.createdMs };
    }
    if (!entry) return { text: "", fate: "", ms };
    const fate = entry.sender === me ? conversation.fate(entry.seq, me) : "";
    const { members } = conversation;
    const named = entry.sender !== me && !peerOf(conversation, this.#client.me);
    const name = named ? members.get(entry.sender)?.name : null;
    const said = textOf(entry);
    const text =
      said === null
        ? (changeText(entry, members, me) ?? "Message of another kind")
        : `${name ? `${name}: ` : ""}${said}`;
    return { text, fate, ms: Number(entry.time_ms) };
  }
}
