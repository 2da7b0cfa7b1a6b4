//! The page in real browsers: two people sign up, chat, reload, live through a crash of the node,
//! and see the same order; the page by keyboard, by screen reader, and on a phone's width.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]
#![allow(clippy::print_stdout, reason = "a skipped test says why")]

mod support;

use rustix::process::Signal;
use serde_json::Value;
use support::process::{Ready, rookery, serve, serve_at, stable_address};
use support::webdriver::{Browser, Driver, keys};

const PASSWORD: &str = "correct horse";
const ONLINE: &str = "document.querySelector('#connection')?.dataset.state === 'online'";

/// chromedriver, unless it or the browser is missing here.
fn driver() -> Option<Driver> {
    Driver::start().map_err(|why| println!("SKIPPED: {why}")).ok()
}

/// A browser in which somebody new is signed up.
fn signed_up<'d>(driver: &'d Driver, node: &Ready, name: &str) -> Browser<'d> {
    let browser = driver.browser();
    browser.go(&format!("http://{}/", node.address()));
    browser.until("!document.querySelector('#auth').hidden");
    browser.write("[data-testid=signup-name]", name);
    browser.write("[data-testid=signup-password]", PASSWORD);
    browser.click("[data-testid=signup-submit]");
    browser.until(ONLINE);
    browser
}

fn start_chat(browser: &Browser<'_>, with: &str) {
    browser.write("[data-testid=new-chat-name]", with);
    browser.click("[data-testid=new-chat-submit]");
    shows_chat(browser, with);
}

fn open_chat(browser: &Browser<'_>, with: &str) {
    browser.click(&format!("[data-testid=conversation-item][data-name='{with}']"));
    shows_chat(browser, with);
}

fn shows_chat(browser: &Browser<'_>, with: &str) {
    browser.until(&format!(
        "!document.querySelector('#chat').hidden
         && document.querySelector('#chat-name').textContent === '{with}'"
    ));
}

fn say(browser: &Browser<'_>, text: &str) {
    browser.write("[data-testid=composer]", &format!("{text}{}", keys::ENTER));
}

/// An expression: a message of this text is shown, in this state.
fn message(text: &str, state: &str) -> String {
    format!(
        "[...document.querySelectorAll('[data-testid=message]')].some((message) =>
           message.dataset.state === '{state}'
           && message.querySelector('[data-testid=message-text]').textContent === '{text}')"
    )
}

/// An expression: a message of this text is shown.
fn shown(text: &str) -> String {
    format!(
        "[...document.querySelectorAll('[data-testid=message-text]')]
           .some((node) => node.textContent === '{text}')"
    )
}

/// An expression: so many messages are shown that have their place.
fn placed(count: usize) -> String {
    format!(
        "document.querySelectorAll('[data-testid=message]:not([data-seq=\"\"])').length === {count}"
    )
}

fn text_is(css: &str, text: &str) -> String {
    format!("document.querySelector('{css}')?.textContent === '{text}'")
}

/// The messages shown, from the top, each with its place.
fn messages(browser: &Browser<'_>) -> Vec<(u64, String)> {
    let shown = browser.run(
        "return [...document.querySelectorAll('[data-testid=message]')].map((message) =>
           [Number(message.dataset.seq),
            message.querySelector('[data-testid=message-text]').textContent])",
    );
    let pair = |pair: &Value| (pair[0].as_u64().unwrap(), pair[1].as_str().unwrap().to_owned());
    shown.as_array().unwrap().iter().map(pair).collect()
}

/// The places are 1, 2, 3, ... `last`.
fn assert_dense(messages: &[(u64, String)], last: u64) {
    let seqs: Vec<u64> = messages.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
}

#[test]
fn two_browsers_chat_reload_live_through_a_crash_and_see_the_same_order() {
    let Some(driver) = driver() else { return };
    let dir = tempfile::tempdir().unwrap();
    let address = stable_address();
    let node = Ready::start(serve_at(dir.path(), address));
    let ada = signed_up(&driver, &node, "ada");
    let bob = signed_up(&driver, &node, "bob");

    // A message, its badge, its ticks.
    start_chat(&ada, "bob");
    ada.until(&text_is("[data-testid=peer-status]", "online"));
    say(&ada, "hello bob");
    bob.until(&text_is("[data-name=ada] [data-testid=unread-badge]", "1"));
    ada.until(&message("hello bob", "delivered"));
    open_chat(&bob, "ada");
    ada.until(&message("hello bob", "read"));
    bob.until("document.querySelector('[data-testid=unread-badge]').hidden");

    // Typing, and the answer.
    bob.write("[data-testid=composer]", "hello");
    ada.until("!document.querySelector('[data-testid=typing]').hidden");
    let typing = ada.run("return document.querySelector('[data-testid=typing]').textContent");
    assert_eq!(typing, "bob is typing…");
    say(&bob, " ada");
    ada.until(&message("hello ada", "sent"));
    ada.until("document.querySelector('[data-testid=typing]').hidden");
    bob.until(&message("hello ada", "read"));

    // Both at once, then a reload: nothing is lost, and the order is the same.
    for round in 0..5 {
        say(&ada, &format!("ada {round}"));
        say(&bob, &format!("bob {round}"));
    }
    for browser in [&ada, &bob] {
        browser.until(&placed(12));
    }
    let before = messages(&ada);
    assert_dense(&before, 12);
    assert_eq!(messages(&bob), before);
    for browser in [&ada, &bob] {
        browser.reload();
        browser.until(&placed(12));
        assert_eq!(messages(browser), before);
    }

    crash(&ada, &bob, node, || Ready::start(serve_at(dir.path(), address)));
}

/// The node is killed and comes back: both see it, what was written meanwhile arrives.
fn crash(ada: &Browser<'_>, bob: &Browser<'_>, node: Ready, restart: impl FnOnce() -> Ready) {
    let before = messages(ada);
    node.signal(Signal::KILL);
    node.end();
    for browser in [ada, bob] {
        browser.until("document.querySelector('#connection').dataset.state !== 'online'");
        browser.until("document.querySelector('#connection-text').textContent !== ''");
    }
    say(ada, "written while the node was down");
    say(bob, "so was this");
    ada.until(&message("written while the node was down", "pending"));
    let _node = restart();
    for browser in [ada, bob] {
        browser.until(ONLINE);
        browser.until(&placed(14));
    }
    ada.until(&message("written while the node was down", "read"));
    bob.until(&message("so was this", "read"));
    say(bob, "after the crash");
    ada.until(&message("after the crash", "sent"));
    bob.until(&message("after the crash", "read"));
    let after = messages(ada);
    assert_eq!(after[..12], before[..]);
    assert_dense(&after, 15);
    assert_eq!(messages(bob), after);
    ada.reload();
    ada.until(&placed(15));
    assert_eq!(messages(ada), after);
}

#[test]
fn scrolling_upwards_loads_history_to_its_beginning() {
    let Some(driver) = driver() else { return };
    let dir = tempfile::tempdir().unwrap();
    let node = Ready::start(serve(dir.path(), &[]));
    let ada = signed_up(&driver, &node, "ada");
    let _bob = signed_up(&driver, &node, "bob");
    start_chat(&ada, "bob");
    // More than two pages, through the page's own form.
    ada.run(
        "const text = document.querySelector('[data-testid=composer]');
         for (let at = 1; at <= 250; at += 1) {
           text.value = `message ${at}`;
           document.querySelector('#composer').requestSubmit();
         }",
    );
    ada.until(&placed(250));
    ada.reload();
    ada.until(&shown("message 250"));
    assert!(messages(&ada).len() < 250, "the whole history was loaded at once");
    ada.until(
        "(document.querySelector('#scroller').scrollTop = 0) === 0
         && document.querySelector('#older').hidden",
    );
    let messages = messages(&ada);
    assert_dense(&messages, 250);
    for (seq, text) in messages {
        assert_eq!(text, format!("message {seq}"));
    }
    // The list of messages scrolls, the page around it doesn't.
    let heights = "return [document.documentElement.scrollHeight, innerHeight]";
    let heights = ada.run(heights);
    assert_eq!(heights[0], heights[1], "the page itself scrolls");
    assert_eq!(ada.complaints(), Vec::<String>::new());
}

#[test]
fn the_page_works_by_keyboard_alone_and_tells_a_screen_reader_what_is_what() {
    let Some(driver) = driver() else { return };
    let dir = tempfile::tempdir().unwrap();
    let node = Ready::start(serve(dir.path(), &[]));
    let bob = signed_up(&driver, &node, "bob");
    let ada = driver.browser();
    ada.go(&format!("http://{}/", node.address()));
    ada.until("!document.querySelector('#auth').hidden");

    // From the log-in's name, where the focus is, to the form below.
    let (tab, enter, shift) = (keys::TAB, keys::ENTER, keys::SHIFT);
    ada.press(&format!("{tab}{tab}{tab}ada{tab}short{enter}"));
    ada.until("document.querySelector('#signup [role=alert]').textContent.includes('8')");
    // The browser tells of the refusal itself; from here on nothing is complained about.
    ada.complaints();
    // The password has the focus again.
    ada.until("document.activeElement.dataset.testid === 'signup-password'");
    ada.run("document.activeElement.select()");
    ada.press(&format!("{PASSWORD}{enter}"));
    ada.until(ONLINE);

    // By Tab to the field, a chat by Enter; the focus is where one writes.
    ada.press(&format!("{tab}{tab}{tab}bob{enter}"));
    shows_chat(&ada, "bob");
    ada.until("document.activeElement.dataset.testid === 'composer'");
    ada.press(&format!("one{shift}{enter}{shift}two{enter}"));
    ada.until("document.querySelectorAll('[data-testid=message]').length === 1");
    let text = "return document.querySelector('[data-testid=message-text]').textContent";
    assert_eq!(ada.run(text), "one\ntwo");
    bob.until(&text_is("[data-name=ada] [data-testid=unread-badge]", "1"));

    for (css, role, name) in [
        ("nav", "navigation", "Chats"),
        ("main.chat-pane", "main", "Chat"),
        ("#conversations", "list", "Your chats"),
        ("[data-testid=new-chat-name]", "textbox", "Start a chat with (name)"),
        ("[data-testid=new-chat-submit]", "button", "Start chat"),
        ("#scroller", "region", "Messages"),
        ("#messages", "list", ""),
        ("[data-testid=message]", "listitem", ""),
        ("[data-testid=composer]", "textbox", "Message"),
        ("[data-testid=send]", "button", "Send"),
        ("#logout", "button", "Log out"),
        ("#chat-name", "heading", "bob"),
    ] {
        assert_eq!(ada.spoken(css), (role.to_owned(), name.to_owned()), "{css}");
    }
    let (role, name) = bob.spoken("[data-testid=conversation-item]");
    assert_eq!(role, "link");
    for part in ["ada", "one", "1", "unread"] {
        assert!(name.contains(part), "{part} is not in {name:?}");
    }
    // What is new is told without a look at it.
    open_chat(&bob, "ada");
    say(&bob, "hello ada");
    ada.until(&text_is("[aria-live=polite]", "bob: hello ada"));
    for browser in [&ada, &bob] {
        assert_eq!(browser.complaints(), Vec::<String>::new());
    }
}

#[test]
fn on_a_phones_width_list_and_chat_take_turns_and_nothing_is_cut_off() {
    let Some(driver) = driver() else { return };
    let dir = tempfile::tempdir().unwrap();
    let node = Ready::start(serve(dir.path(), &[]));
    let _bob = signed_up(&driver, &node, "bob");
    let ada = signed_up(&driver, &node, "ada");
    ada.width(390);
    let fits = "document.documentElement.scrollWidth <= 390 && innerWidth === 390";
    let in_sight =
        |css: &str| format!("document.querySelector('{css}').getClientRects().length > 0");
    ada.until(fits);
    ada.until(&format!("!({})", in_sight("#scroller")));
    start_chat(&ada, "bob");
    say(&ada, &"a-long-word-without-a-break".repeat(20));
    ada.until(fits);
    ada.until(&format!("{} && !({})", in_sight("#scroller"), in_sight("#conversations")));
    ada.click("#back");
    ada.until(&format!("{} && !({})", in_sight("#conversations"), in_sight("#scroller")));
    ada.until(fits);
    open_chat(&ada, "bob");
    ada.width(1280);
    ada.until(&format!("{} && {}", in_sight("#conversations"), in_sight("#scroller")));
}

#[test]
fn a_group_is_made_its_members_chat_and_one_is_removed() {
    let Some(driver) = driver() else { return };
    let dir = tempfile::tempdir().unwrap();
    let node = Ready::start(serve(dir.path(), &[]));
    let ada = signed_up(&driver, &node, "ada");
    let bob = signed_up(&driver, &node, "bob");
    ada.click("[data-testid=new-group]");
    ada.write("[data-testid=group-new-title]", "Lunch");
    ada.write("[data-testid=group-new-names]", "bob");
    ada.click("[data-testid=group-new-submit]");
    shows_chat(&ada, "Lunch");
    bob.until("!!document.querySelector('[data-testid=conversation-item][data-name=Lunch]')");
    open_chat(&bob, "Lunch");
    bob.until("!!document.querySelector('[data-testid=change]')");
    say(&ada, "hello all");
    bob.until(&shown("hello all"));
    bob.until("[...document.querySelectorAll('.sender')].some((n) => n.textContent === 'ada:')");
    // Everybody has read it: that is told without naming anybody.
    ada.until(&message("hello all", "read"));
    ada.click("[data-testid=chat-group]");
    ada.until("document.querySelectorAll('[data-testid=group-member]').length === 2");
    ada.click("[data-testid=group-member][data-name=bob] button[aria-label='Remove: bob']");
    ada.until("document.querySelectorAll('[data-testid=group-member]').length === 1");
    bob.until(&text_is("[data-testid=peer-status]", "You are no member any more"));
    bob.until("document.querySelector('#composer').hidden");
}

/// An expression: a notice that says this is in sight.
fn notice(text: &str) -> String {
    format!(
        "[...document.querySelectorAll('[data-testid=notice] p')].some((line) =>
           line.textContent === '{text}' && line.getClientRects().length > 0)"
    )
}

#[test]
fn what_the_operators_say_is_shown_until_its_reader_closes_it() {
    let Some(driver) = driver() else { return };
    let dir = tempfile::tempdir().unwrap();
    let admin = stable_address().to_string();
    let node = Ready::start(serve(dir.path(), &["--admin", &admin]));
    let token = dir.path().join("ops.token");
    let made = rookery().args(["admin", "token", "ops", "--data"]).arg(dir.path()).output();
    std::fs::write(&token, made.unwrap().stdout).unwrap();
    let tell = |text: &str| {
        let mut telling = rookery();
        telling.args(["admin", "--admin", &admin, "--token-file"]).arg(&token);
        let told = telling.args(["notice", text]).output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    };
    let ada = signed_up(&driver, &node, "ada");
    tell("Back at 22:00.");
    ada.until(&notice("Back at 22:00."));
    assert_eq!(ada.spoken("#notices").0, "status");
    ada.width(390);
    tell("<b>a-long-word-without-a-break-a-long-word-without-a-break</b>");
    ada.until(&notice("<b>a-long-word-without-a-break-a-long-word-without-a-break</b>"));
    ada.until("document.documentElement.scrollWidth <= 390 && innerWidth === 390");
    // Who comes back is told again what holds.
    ada.reload();
    ada.until(&notice("Back at 22:00."));
    ada.until("document.querySelectorAll('[data-testid=notice]').length === 2");
    ada.click("#notice-1 button");
    ada.until("document.querySelectorAll('[data-testid=notice]').length === 1");
    ada.click("#notice-2 button");
    ada.reload();
    ada.until(ONLINE);
    tell("Back again.");
    ada.until(&notice("Back again."));
    ada.until("document.querySelectorAll('[data-testid=notice]').length === 1");
    assert_eq!(ada.complaints(), Vec::<String>::new());
}
