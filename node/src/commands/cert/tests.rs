//! The command as an operator uses it, with a clock that tests move.

use super::*;
use clap::Parser;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

const NOW: Duration = Duration::from_secs(1_900_000_000);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    cert: Cert,
}

/// Runs `rookery cert` with these words in a directory, so many days from now.
fn run(dir: &Path, words: &str, days: u32) -> Result<String, String> {
    let dir = dir.to_str().unwrap();
    let line = std::iter::once("cert").chain(words.split(' ')).chain(["--dir", dir]);
    let parsed = Line::try_parse_from(line).map_err(|error| error.to_string())?;
    parsed.cert.run_at(NOW + DAY * days).map_err(|error| error.to_string())
}

#[test]
fn an_authority_and_nodes_are_made_listed_and_renewed() {
    let dir = TempDir::new().unwrap();
    let run = |words: &str, days| run(dir.path(), words, days);
    assert!(run("node --cluster chat --name a", 0).unwrap_err().contains("cert authority"));
    run("authority --cluster chat", 0).unwrap();
    assert!(run("authority --cluster chat", 0).unwrap_err().contains("already"));
    run("node --cluster chat --name a --days 10", 0).unwrap();
    run("node --cluster chat --name b --days 100", 0).unwrap();
    assert!(run("node --cluster chat --name a", 0).unwrap_err().contains("renew"));
    let listed = run("list --cluster chat", 0).unwrap();
    assert_eq!(listed, "a: good until 2030-03-27\nb: good until 2030-06-25\n");
    let listed = run("list --cluster chat", 11).unwrap();
    assert!(listed.starts_with("a: no good: ") && listed.contains("b: good"), "{listed}");
    let renewed = run("renew --cluster chat", 11).unwrap();
    assert!(renewed.contains("node a") && !renewed.contains("node b"), "{renewed}");
    assert!(run("renew --cluster chat", 11).unwrap().contains("no certificate expires"));
    let before = std::fs::read(dir.path().join("b.key")).unwrap();
    run("renew --cluster chat --name b", 11).unwrap();
    assert_ne!(std::fs::read(dir.path().join("b.key")).unwrap(), before);
    assert!(run("renew --cluster chat --name c", 11).unwrap_err().contains("no certificate"));
}

#[test]
fn keys_are_for_their_owner_alone() {
    let dir = TempDir::new().unwrap();
    let inner = dir.path().join("certs");
    run(&inner, "authority --cluster chat", 0).unwrap();
    run(&inner, "node --cluster chat --name a", 0).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    for (file, expected) in
        [("ca.key", 0o600), ("a.key", 0o600), ("ca.pem", 0o644), ("a.pem", 0o644)]
    {
        assert_eq!(mode(&inner.join(file)), expected, "{file}");
    }
    assert_eq!(std::fs::read_dir(&inner).unwrap().count(), 4, "nothing else is left");
}

#[test]
fn an_authority_speaks_for_its_own_cluster_alone() {
    let dir = TempDir::new().unwrap();
    run(dir.path(), "authority --cluster chat", 0).unwrap();
    let error = run(dir.path(), "node --cluster other --name a", 0).unwrap_err();
    assert!(error.contains("no good for cluster other"), "{error}");
    assert!(!dir.path().join("a.pem").exists());
    // Not even with its key in hand: the name in the certificate is out of its bounds.
    let (authority, key) =
        Dir { path: dir.path().into(), cluster: "chat".into() }.read_authority().unwrap();
    let forged = make::node("chat", "a.chat.rookery.other", &key, NOW, NOW + DAY);
    let forged = forged.unwrap().certificate;
    let standing = check::standing(&authority, &forged, "other", "a", NOW);
    assert!(matches!(standing, Standing::Bad(_)), "{standing:?}");
}

#[test]
fn names_that_no_node_can_have_and_days_without_end_are_refused() {
    let dir = TempDir::new().unwrap();
    run(dir.path(), "authority --cluster chat", 0).unwrap();
    for name in ["A", "a.b", "../a", "ca", "-a"] {
        let words = format!("node --cluster chat --name={name}");
        assert!(run(dir.path(), &words, 0).is_err(), "{name}");
    }
    assert!(run(dir.path(), "node --cluster chat --name a --days 0", 0).is_err());
    assert!(run(dir.path(), "node --cluster chat --name a --days 99999999", 0).is_err());
    assert!(run(dir.path(), "authority --cluster Chat", 0).is_err());
}
