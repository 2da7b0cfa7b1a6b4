//! Logs in (or signs up) and answers each text with the same text.
//!
//! ```sh
//! cargo run -p rookery-client --example echo_bot -- http://127.0.0.1:8080 echo 'a long password'
//! ```

#![allow(clippy::print_stdout, reason = "an example talks to the person who runs it")]

use rookery_client::{Api, Client, Config, Event};
use rookery_protocol::{EntryKind, MarkKind};
use std::error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, name, password] = arguments.as_slice() else {
        return Err("usage: echo_bot http://HOST:PORT NAME PASSWORD".into());
    };
    let mut api = Api::new(base)?;
    let login = match api.sign_up(name, password).await {
        Err(e) if e.code() == Some("NameTaken") => {
            api.log_in(name, password, Some("echo bot")).await?
        }
        outcome => outcome?,
    };
    let me = login.user;
    let (client, mut events) = Client::start(Config::default(), base, login, None)?;
    while let Some(event) = events.next().await {
        match event {
            Event::Connected(c) => println!("connected to {} as {}", c.node, c.name),
            Event::Disconnected { reason, .. } => println!("disconnected: {reason}"),
            Event::Message { conversation, entry }
                if entry.sender != me && entry.kind == EntryKind::Text =>
            {
                client.mark(conversation, MarkKind::Read, entry.seq).await?;
                let client = client.clone();
                // Not awaited here: a slow server must not keep the bot from reading.
                tokio::spawn(async move {
                    let text = String::from_utf8_lossy(&entry.body);
                    if let Err(e) = client.send_text(conversation, &text).await {
                        println!("not sent: {e}");
                    }
                });
            }
            Event::Closed(reason) => println!("closed: {reason:?}"),
            _ => {}
        }
    }
    Ok(())
}
