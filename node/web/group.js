// Groups: making one, and the dialog that shows who is in it and lets those who may change it.

import { changeOf, newSecret } from "/client/groups.js";
import { ConversationKind, GroupAction, idText, Role } from "/client/codec.js";
import { byId, el, setText } from "./dom.js";

const ROLE = { [Role.Member]: "", [Role.Admin]: "admin", [Role.Owner]: "owner" };
const SAYS = {
  203: "You are no member of this group.",
  206: "Your role doesn’t allow that.",
  207: "This link is not good any more.",
  300: "Nobody here has that name.",
  308: "Make somebody else owner first.",
  309: "The group is full.",
  310: "Already a member.",
  311: "No member any more.",
};

/** What a change of a group did, in words; null when the entry is none. */
export function changeText(entry, members, me) {
  const change = changeOf(entry);
  if (!change) return null;
  const name = (user) => (user === me ? "you" : members.get(user)?.name || "somebody");
  const who = entry.sender === me ? "You" : members.get(entry.sender)?.name || "Somebody";
  const whom = change.users.map(name).join(", ");
  switch (change.action) {
    case GroupAction.Create:
      return `${who} made the group “${change.text}”`;
    case GroupAction.Rename:
      return `${who} named the group “${change.text}”`;
    case GroupAction.SetAvatar:
      return `${who} changed the picture`;
    case GroupAction.Add:
      return `${who} added ${whom}`;
    case GroupAction.Remove:
      return `${who} removed ${whom}`;
    case GroupAction.Leave:
      return `${who} left`;
    case GroupAction.SetRole:
      return `${who} made ${whom} ${ROLE[change.value] || "a plain member"}`;
    case GroupAction.Join:
      return `${who} joined by the link`;
    case GroupAction.ResetLink:
      return `${who} made a new link`;
    case GroupAction.CloseLink:
      return `${who} closed the link`;
    case GroupAction.SetHistory:
      return `${who} showed ${change.value === 1 ? "everybody" : "new members no longer"} the whole history`;
    default:
      return `${who} changed the group`;
  }
}

export class GroupView {
  #client;
  #open;
  #conversation = null;

  /**
   * @param {Client} client
   * @param {(conversation: Conversation) => void} open shows a chat
   * @param {AbortSignal} signal the end of the log-in
   */
  constructor(client, open, signal) {
    this.#client = client;
    this.#open = open;
    const on = (id, event, work) => byId(id).addEventListener(event, work, { signal });
    on("new-group", "click", () => byId("group-new").showModal());
    on("group-new-form", "submit", (event) => this.#create(event));
    on("group-new-cancel", "click", () => byId("group-new").close());
    on("chat-group", "click", () => this.#show());
    on("group-close", "click", () => byId("group").close());
    on("group-add", "submit", (event) => this.#add(event));
    on("group-rename", "submit", (event) => this.#rename(event));
    on("group-link", "click", () => this.#link());
    on("group-leave", "click", () => this.#change({ action: GroupAction.Leave }));
    client.on("conversation", ({ conversation }) => {
      if (conversation === this.#conversation && byId("group").open) this.#render();
    });
    signal.addEventListener("abort", () => {
      byId("group").close();
      byId("group-new").close();
    });
  }

  /** The chat that is shown; a link in the address that names none is for joining. */
  select(conversation) {
    this.#conversation = conversation;
    const group = conversation?.kind === ConversationKind.Group;
    byId("chat-group").hidden = !group || conversation.left;
    byId("composer").hidden = group && conversation.left;
  }

  /** Joins by a link's conversation and secret. */
  async join(id, secret) {
    const change = { action: GroupAction.Join, text: secret };
    await this.#client.change(change, { id });
  }

  async #create(event) {
    event.preventDefault();
    const error = byId("group-new-error");
    const title = byId("group-new-title-text").value.trim();
    const names = byId("group-new-names").value.toLowerCase().split(/[\s,]+/).filter(Boolean);
    try {
      const users = await this.#users(names);
      const id = await this.#client.change({ action: GroupAction.Create, users, text: title });
      const conversation = await this.#ready(id);
      byId("group-new").close();
      event.target.reset();
      setText(error, "");
      this.#open(conversation);
    } catch (failure) {
      setText(error, SAYS[failure.code] ?? "That did not work. Try again.");
    }
  }

  /** A conversation, once it is described. */
  #ready(id) {
    return new Promise((resolve) => {
      const look = () => {
        const conversation = this.#client.conversations.get(id);
        if (!conversation?.ready) return;
        stop();
        resolve(conversation);
      };
      const stop = this.#client.on("conversation", look);
      look();
    });
  }

  async #users(names) {
    const { users } = await this.#client.request("FindUsers", { names });
    if (users.length < names.length) throw { code: 300 };
    return users.map(({ user }) => user);
  }

  #show() {
    this.#render();
    setText(byId("group-error"), "");
    setText(byId("group-link-text"), "");
    byId("group").showModal();
  }

  #render() {
    const { members, title, left } = this.#conversation;
    const own = members.get(this.#client.me.user)?.role ?? 0;
    setText(byId("group-title"), title);
    byId("group-add").hidden = left || own < Role.Admin;
    byId("group-rename").hidden = left || own < Role.Admin;
    byId("group-link").hidden = left || own < Role.Admin;
    byId("group-leave").hidden = left;
    const all = [...members.values()].sort((a, b) => b.role - a.role || (a.name < b.name ? -1 : 1));
    byId("group-members").replaceChildren(...all.map((member) => this.#member(member, own)));
  }

  #member({ user, name, role }, own) {
    const action = (text, change) => {
      const label = `${text}: ${name}`;
      const button = el("button", { type: "button", class: "text-button", "aria-label": label, text });
      button.addEventListener("click", () => this.#change({ ...change, users: [user] }));
      return button;
    };
    const give = (text, value) => action(text, { action: GroupAction.SetRole, value });
    const node = el(
      "li",
      { class: "group-member", "data-testid": "group-member", "data-name": name, "data-role": role },
      el("span", { class: "group-member-name", text: name || "Deleted account" }),
      el("span", { class: "group-member-role", text: ROLE[role] ?? "" }),
    );
    if (own === Role.Owner && role < Role.Admin) node.append(give("Make admin", Role.Admin));
    if (own === Role.Owner && role < Role.Owner) node.append(give("Make owner", Role.Owner));
    if (own === Role.Owner && role > Role.Member) node.append(give("Make member", Role.Member));
    const me = user === this.#client.me.user;
    const removes = own === Role.Owner || (own === Role.Admin && role === Role.Member);
    if (removes && !me) node.append(action("Remove", { action: GroupAction.Remove }));
    return node;
  }

  async #change(change) {
    try {
      await this.#client.change(change, this.#conversation);
      setText(byId("group-error"), "");
      if (change.action === GroupAction.Leave) byId("group").close();
      return true;
    } catch (failure) {
      setText(byId("group-error"), SAYS[failure.code] ?? "That did not work. Try again.");
      return false;
    }
  }

  async #add(event) {
    event.preventDefault();
    const input = byId("group-add-name");
    try {
      const users = await this.#users([input.value.trim().toLowerCase()]);
      if (await this.#change({ action: GroupAction.Add, users })) input.value = "";
    } catch (failure) {
      setText(byId("group-error"), SAYS[failure.code] ?? "That did not work. Try again.");
    }
  }

  async #rename(event) {
    event.preventDefault();
    const input = byId("group-rename-text");
    const text = input.value.trim();
    if (text && (await this.#change({ action: GroupAction.Rename, text }))) input.value = "";
  }

  /** A fresh link; a former one is no longer good. */
  async #link() {
    const secret = newSecret();
    if (!(await this.#change({ action: GroupAction.ResetLink, text: secret }))) return;
    const to = new URL(`#/join/${idText(this.#conversation.id)}/${secret}`, location.href);
    setText(byId("group-link-text"), to.href);
  }
}
