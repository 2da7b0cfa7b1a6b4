//! Nodes with links for tests: an authority, certificates, what nodes hear, what they log and count.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

pub mod by_hand;
pub mod evidence;
pub mod proxy;

use bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rookery_actors::link::{LinkOut, NodeKey, Notice, Peer, names};
use rookery_actors::shell::link::{LinkConfig, Links, TlsFiles};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// What a test waits for comes sooner than this, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Limits of time are figures of a machine that is not shared; one that runs tests may be, and
/// stand still for seconds. What is broken takes longer than this many times the figure.
pub const SLACK: u32 = 3;

/// A cluster's authority.
pub struct Authority {
    pub cluster: String,
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new(cluster: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { cluster: cluster.to_owned(), issuer: Issuer::new(params, key), pem }
    }

    /// Files of a node in a directory of its own, with a certificate that is good until a year.
    pub fn files(&self, name: &str, until_year: i32) -> (TempDir, TlsFiles) {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(vec![names::certified(&self.cluster, name)]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until_year, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let dir = TempDir::new().unwrap();
        let write = |file: &str, text: &str| {
            let path = dir.path().join(file);
            std::fs::write(&path, text).unwrap();
            path
        };
        let files = TlsFiles {
            authority: write("ca.pem", &self.pem),
            certificate: write("node.pem", &certificate.pem()),
            key: write("node.key", &key.serialize_pem()),
        };
        (dir, files)
    }
}

/// A node with links, and what it hears.
pub struct Node {
    pub name: String,
    pub incarnation: u64,
    pub links: Arc<Links>,
    pub messages: UnboundedReceiver<(NodeKey, Bytes)>,
    pub notices: UnboundedReceiver<Notice>,
    _files: TempDir,
}

impl Node {
    pub async fn start(authority: &Authority, name: &str, incarnation: u64) -> Self {
        Self::start_at(authority, name, incarnation, "127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn start_at(
        authority: &Authority,
        name: &str,
        incarnation: u64,
        listen: SocketAddr,
    ) -> Self {
        let (dir, tls) = authority.files(name, 2100);
        Self::start_with(&authority.cluster, name, incarnation, listen, (dir, tls)).await
    }

    pub async fn start_with(
        cluster: &str,
        name: &str,
        incarnation: u64,
        listen: SocketAddr,
        (dir, tls): (TempDir, TlsFiles),
    ) -> Self {
        let config = LinkConfig {
            cluster: cluster.to_owned(),
            name: name.to_owned(),
            incarnation,
            listen,
            tls,
            newest: None,
        };
        Self::start_as(config, dir).await
    }

    /// A node that speaks no newer wire version than this.
    pub async fn of_version(authority: &Authority, name: &str, newest: u8) -> Self {
        let (dir, tls) = authority.files(name, 2100);
        let config = LinkConfig {
            cluster: authority.cluster.clone(),
            name: name.to_owned(),
            incarnation: 1,
            listen: "127.0.0.1:0".parse().unwrap(),
            tls,
            newest: Some(newest),
        };
        Self::start_as(config, dir).await
    }

    async fn start_as(config: LinkConfig, dir: TempDir) -> Self {
        let (message_in, messages) = unbounded_channel();
        let (notice_in, notices) = unbounded_channel();
        let (name, incarnation) = (config.name.clone(), config.incarnation);
        let links = Links::start(
            config,
            Arc::new(move |from, message| message_in.send((from, message)).unwrap_or(())),
            Arc::new(move |notice| notice_in.send(notice).unwrap_or(())),
        );
        let links = links.await.unwrap();
        Self { name, incarnation, links, messages, notices, _files: dir }
    }

    pub fn key(&self) -> NodeKey {
        self.links.own()
    }

    /// This node as others see it.
    pub fn peer(&self) -> Peer {
        self.peer_at(self.links.local_addr())
    }

    /// This node as others see it, behind another address.
    pub fn peer_at(&self, address: SocketAddr) -> Peer {
        let (name, incarnation) = (self.name.clone(), self.incarnation);
        Peer { name, incarnation, address: address.to_string() }
    }

    pub async fn notice(&mut self, expected: Notice) {
        let heard = tokio::time::timeout(PATIENCE, async {
            while let Some(notice) = self.notices.recv().await {
                if notice == expected {
                    return;
                }
            }
        });
        assert!(heard.await.is_ok(), "{}: no {expected:?}", self.name);
    }

    pub async fn message(&mut self) -> Bytes {
        let message = tokio::time::timeout(PATIENCE, self.messages.recv()).await;
        message.expect("no message came").expect("the links ended").1
    }

    /// Messages with these numbers come, in this order.
    pub async fn expect_numbers(&mut self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            assert_eq!(self.message().await, numbered(number), "{}", self.name);
        }
    }

    pub fn send_numbers(&self, to: NodeKey, numbers: std::ops::Range<u32>) {
        for number in numbers {
            self.links.send(to, numbered(number)).unwrap();
        }
    }
}

/// A message with a number.
pub fn numbered(number: u32) -> Bytes {
    Bytes::from(number.to_be_bytes().to_vec())
}

/// Two nodes in each other's views, linked.
pub async fn pair(authority: &Authority) -> (Node, Node) {
    let mut a = Node::start(authority, "a", 1).await;
    let mut b = Node::start(authority, "b", 1).await;
    introduce(&mut a, &mut b).await;
    (a, b)
}

pub async fn introduce(a: &mut Node, b: &mut Node) {
    a.links.set_peers(vec![b.peer()]);
    b.links.set_peers(vec![a.peer()]);
    a.notice(Notice::Up(b.key())).await;
    b.notice(Notice::Up(a.key())).await;
}
