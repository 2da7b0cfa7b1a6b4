//! This node as a member of a cluster: what its configuration means to the actors, and how the
//! cluster looks to an operator.

use crate::table::table;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rookery_actors::cluster::{Profile, Timing, View};
use rookery_actors::link::{LinkOut, NodeKey, OnMessage, OnNotice};
use rookery_actors::shell::link::{LinkConfig, LinkStartError, Links, TlsFiles};
use rookery_actors::shell::{ActorSystem, ClusterConfig, OnRevoked, StartLinks};
use rookery_cluster_config::Config;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How often links are tried to start, while their port is still taken by those of a former life.
const LINK_ATTEMPTS: u32 = 40;
const LINK_PAUSE: Duration = Duration::from_millis(50);

/// What makes this node a member; `None` when it works alone.
pub(crate) fn config(
    config: &Config,
    http_addr: SocketAddr,
    on_revoked: OnRevoked,
) -> Option<ClusterConfig> {
    let section = &config.cluster;
    let cluster = section.name.clone()?;
    let name = config.node.name.clone();
    let endpoint = section.endpoint.clone().unwrap_or_else(|| match &config.http.public_url {
        // http://a -> ws://a, https://a -> wss://a
        Some(url) => format!("{}/v1/ws", url.replacen("http", "ws", 1)),
        None => {
            let scheme = if config.http.tls_certificate.is_some() { "wss" } else { "ws" };
            format!("{scheme}://{http_addr}/v1/ws")
        }
    });
    let links = LinkConfig {
        cluster: cluster.clone(),
        name: name.clone(),
        incarnation: 0,
        listen: section.listen,
        tls: TlsFiles {
            authority: section.certificates.join("ca.pem"),
            certificate: section.certificates.join(format!("{}.pem", config.node.name)),
            key: section.certificates.join(format!("{}.key", config.node.name)),
        },
        newest: section.link_version,
    };
    Some(ClusterConfig {
        profile: Profile {
            cluster,
            name,
            link: section.advertise.clone().unwrap_or_else(|| section.listen.to_string()),
            endpoint,
            zone: section.zone.clone(),
            capacity: section.capacity,
        },
        timing: Timing { renew_ms: section.renew_ms, suspicion_ms: section.suspicion_ms },
        links: Arc::new(Lives { config: links, current: Arc::default() }),
        on_revoked,
    })
}

/// The links of one life after another, on one port.
struct Lives {
    config: LinkConfig,
    current: Arc<Mutex<Option<Arc<Links>>>>,
}

impl StartLinks for Lives {
    fn start(
        &self,
        own: NodeKey,
        on_message: OnMessage,
        on_notice: OnNotice,
    ) -> BoxFuture<'static, Result<Arc<dyn LinkOut>, String>> {
        let config = LinkConfig { incarnation: own.incarnation, ..self.config.clone() };
        let current = Arc::clone(&self.current);
        async move {
            let mut current = current.lock().await;
            if let Some(former) = current.take() {
                former.shutdown().await;
            }
            let mut attempt = 1;
            let links = loop {
                let (on_message, on_notice) = (Arc::clone(&on_message), Arc::clone(&on_notice));
                match Links::start(config.clone(), on_message, on_notice).await {
                    Ok(links) => break links,
                    Err(LinkStartError::Listen(..)) if attempt < LINK_ATTEMPTS => {
                        attempt += 1;
                        tokio::time::sleep(LINK_PAUSE).await;
                    }
                    Err(error) => return Err(error.to_string()),
                }
            };
            *current = Some(Arc::clone(&links));
            let links: Arc<dyn LinkOut> = links;
            Ok(links)
        }
        .boxed()
    }
}

/// The cluster as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The cluster's name.
    pub cluster: String,
    /// The node that answers.
    pub node: String,
    /// How often the members changed.
    pub epoch: u64,
    /// Whether the node that answers may work for its slots.
    pub serving: bool,
    /// All members, by name.
    pub nodes: Vec<NodeStatus>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// joining, active or draining.
    pub state: String,
    /// Which of its lives, in hexadecimal.
    pub incarnation: String,
    /// Its zone.
    pub zone: String,
    /// Where its clients connect.
    pub endpoint: String,
    /// Whether the node that answers has a link to it.
    pub linked: bool,
    /// The wire version they speak on it; for the node that answers, the newest it knows.
    pub link_version: u8,
    /// Its shares of the work.
    pub capacity: u32,
    /// How many slots it has.
    pub slots: usize,
    /// Sessions it serves.
    pub sessions: u32,
    /// Milliseconds its last look at the store took.
    pub lag_ms: u32,
}

/// What a node knows of its cluster; `None` when it works alone.
pub(crate) fn status(config: &Config, system: &ActorSystem) -> Option<Status> {
    let view: Arc<View> = system.view()?;
    let nodes = view.members.iter().map(|member| {
        let lease = &member.lease;
        NodeStatus {
            name: lease.name.clone(),
            state: lease.state.as_str().to_owned(),
            incarnation: format!("{:016x}", lease.incarnation),
            zone: lease.zone.clone(),
            endpoint: lease.endpoint.clone(),
            linked: member.key == view.me || system.is_linked(member.key),
            link_version: system.link_version(member.key),
            capacity: lease.capacity,
            slots: view.slots_of(member.key),
            sessions: lease.sessions,
            lag_ms: lease.lag_ms,
        }
    });
    let mut nodes: Vec<NodeStatus> = nodes.collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Some(Status {
        cluster: config.cluster.name.clone().unwrap_or_default(),
        node: config.node.name.clone(),
        epoch: view.epoch,
        serving: view.serving,
        nodes,
    })
}

impl Status {
    /// As a table for eyes.
    #[must_use]
    pub fn table(&self) -> String {
        let heads = ["node", "state", "slots", "sessions", "lag ms", "linked", "zone", "endpoint"];
        let rows = self.nodes.iter().map(|node| {
            [
                node.name.clone(),
                node.state.clone(),
                node.slots.to_string(),
                node.sessions.to_string(),
                node.lag_ms.to_string(),
                if node.linked { "yes" } else { "no" }.to_owned(),
                node.zone.clone(),
                node.endpoint.clone(),
            ]
        });
        let serving = if self.serving { "serving" } else { "NOT serving" };
        let mut text = format!(
            "cluster {}, epoch {}, seen by {} ({serving})\n",
            self.cluster, self.epoch, self.node
        );
        text.push_str(&table(heads, rows.collect()));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_node_below_its_heads() {
        let node = NodeStatus {
            name: "node-1".into(),
            state: "active".into(),
            incarnation: "0".repeat(16),
            zone: String::new(),
            endpoint: "ws://a/v1/ws".into(),
            linked: true,
            link_version: 2,
            capacity: 1,
            slots: 4096,
            sessions: 7,
            lag_ms: 3,
        };
        let status = Status {
            cluster: "chat".into(),
            node: "node-1".into(),
            epoch: 2,
            serving: true,
            nodes: vec![node],
        };
        let wanted = "cluster chat, epoch 2, seen by node-1 (serving)\n\
             node    state   slots  sessions  lag ms  linked  zone  endpoint\n\
             node-1  active  4096   7         3       yes           ws://a/v1/ws\n";
        assert_eq!(status.table(), wanted);
    }
}
