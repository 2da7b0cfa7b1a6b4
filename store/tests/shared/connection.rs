//! Greetings and the socket's file.

use super::support::{Hosted, VERSION, greeting, until};
use crate::contract::harness::{apply, set};
use rookery_store::memory::MemoryEngine;
use rookery_store::shared::{
    BindError, ConnectError, Server, ServerConfig, SharedConfig, SharedEngine,
};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

#[test]
fn another_version_is_told_ours_and_let_go() {
    let hosted = Hosted::start();
    let (mut peer, verdict) = hosted.greet(&greeting(7));
    assert_eq!(verdict[..12], greeting(VERSION));
    assert_eq!(verdict[12], 1, "another version");
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "and the end");
    until("it is gone", || hosted.clients() == 0);
}

#[test]
fn a_node_of_another_version_says_which_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let newer = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        peer.read_exact(&mut [0; 12]).unwrap();
        peer.write_all(&[&greeting(9)[..], &[1]].concat()).unwrap();
    });
    let error = SharedEngine::open(&SharedConfig::new(&socket)).unwrap_err();
    assert!(matches!(error, ConnectError::OtherVersion { theirs: 9, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("version 9") && text.contains("one release"), "{text}");
    newer.join().unwrap();
}

#[test]
fn something_that_is_no_client_gets_no_answer_and_something_that_is_no_store_is_told_apart() {
    let hosted = Hosted::start();
    let (_peer, answer) = hosted.greet(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(answer, b"");
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let other = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"220 mail ready\r\n").unwrap();
        peer.read_exact(&mut [0; 12]).unwrap();
    });
    let error = SharedEngine::open(&SharedConfig::new(&socket)).unwrap_err();
    assert!(matches!(error, ConnectError::NoStore(_)), "{error:?}");
    other.join().unwrap();
}

#[test]
fn without_a_store_the_error_names_the_socket_and_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = SharedConfig::new(dir.path().join("socket"));
    config.open_timeout = Duration::from_millis(100);
    let text = SharedEngine::open(&config).unwrap_err().to_string();
    assert!(text.contains(config.socket.to_str().unwrap()), "{text}");
    assert!(text.contains("rookery store"), "{text}");
}

#[test]
fn a_node_waits_for_a_store_that_is_only_starting() {
    let mut hosted = Hosted::start();
    hosted.stop();
    let config = SharedConfig::new(&hosted.config.socket);
    let opening = std::thread::spawn(move || SharedEngine::open(&config));
    hosted.restart();
    apply(&opening.join().unwrap().unwrap(), vec![set("k", "")]);
}

#[test]
fn the_socket_is_for_its_user_alone_and_goes_with_the_server() {
    let mut hosted = Hosted::start();
    let socket = hosted.config.socket.clone();
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    hosted.stop();
    assert!(!socket.exists());
}

#[test]
fn a_socket_that_is_served_is_refused_and_one_left_behind_is_replaced() {
    let hosted = Hosted::start();
    let error = Server::start(MemoryEngine::new(), &hosted.config).unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error:?}");
    apply(&hosted.client(), vec![set("k", "still served")]);

    let config = ServerConfig::new(hosted.config.socket.with_file_name("left"));
    // The listener goes and its file stays, as after SIGKILL.
    drop(UnixListener::bind(&config.socket).unwrap());
    let server = Server::start(MemoryEngine::new(), &config).unwrap();
    drop(SharedEngine::open(&SharedConfig::new(&config.socket)).unwrap());
    server.stop();
}

#[test]
fn a_file_that_is_no_socket_and_a_path_that_is_too_long_are_left_alone() {
    let hosted = Hosted::start();
    let mut config = ServerConfig::new(hosted.config.socket.with_file_name("file"));
    std::fs::write(&config.socket, "precious").unwrap();
    let error = Server::start(MemoryEngine::new(), &config).unwrap_err();
    assert!(matches!(error, BindError::NoSocket(_)), "{error:?}");
    assert_eq!(std::fs::read(&config.socket).unwrap(), b"precious");
    config.socket.set_file_name("x".repeat(120));
    let error = Server::start(MemoryEngine::new(), &config).unwrap_err();
    assert!(error.to_string().contains("at most 100 bytes"), "{error}");
}
