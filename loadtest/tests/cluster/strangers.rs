//! Processes that don't belong: a second node of a name, and a node of another cluster on the same
//! store. They are refused with the reason, and the cluster goes on.

use crate::node_binary;
use rookery_loadtest::cluster::{Cluster, Setup};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Starts a node by hand that is to be refused, and waits for its end.
fn refused(binary: &Path, cluster: &Cluster, name: &str, of: &str, certs: &Path) -> Output {
    let data = cluster.directory();
    Command::new(binary)
        .arg("serve")
        .arg("--data")
        .arg(data.join("stranger"))
        .args(["--store", "shared", "--socket"])
        .arg(data.join("store.sock"))
        .args(["--node", name, "--cluster", of, "--listen", "127.0.0.1:0"])
        // A port that nobody has, and that others could know.
        .args(["--metrics", "127.0.0.1:0", "--admin", "off", "--link", "127.0.0.1:9"])
        .env("ROOKERY_CLUSTER_CERTIFICATES", certs)
        .env("ROOKERY_DEV_PASSWORD_COST", "low")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The members as a node sees them, but for what changes all the time.
fn members(cluster: &Cluster) -> Vec<(String, String, String)> {
    let status = cluster.status(0).unwrap();
    let text = |node: &serde_json::Value, key: &str| node[key].as_str().unwrap().to_owned();
    let nodes = status["nodes"].as_array().unwrap().iter();
    nodes.map(|n| (text(n, "name"), text(n, "incarnation"), text(n, "state"))).collect()
}

#[test]
fn a_second_node_of_a_name_and_a_node_of_another_cluster_are_refused_with_the_reason() {
    let Some(binary) = node_binary::rookery() else { return };
    let cluster = Setup::new(binary.clone(), 2).start().unwrap();
    let before = members(&cluster);
    let certs = cluster.directory().join("certs");
    let twin = refused(&binary, &cluster, "n1", "test", &certs);
    let words = String::from_utf8_lossy(&twin.stderr).into_owned();
    assert!(!twin.status.success() && words.contains("another node of this name lives"), "{words}");
    let other = cluster.directory().join("other-certs");
    for arguments in [&["authority"][..], &["node", "--name", "n9"]] {
        let mut cert = Command::new(&binary);
        cert.arg("cert").args(arguments).args(["--cluster", "other", "--dir"]).arg(&other);
        assert!(cert.stdout(Stdio::null()).status().unwrap().success());
    }
    let foreign = refused(&binary, &cluster, "n9", "other", &other);
    let words = String::from_utf8_lossy(&foreign.stderr).into_owned();
    assert!(!foreign.status.success() && words.contains("belongs to the cluster"), "{words}");
    assert_eq!(members(&cluster), before);
    (0..2).for_each(|n| cluster.wait_for(n, 2).unwrap());
}
