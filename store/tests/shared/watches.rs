//! Doorbells whose connection is lost, and whose store or owner goes away.

use super::support::{Hosted, until};
use crate::contract::harness::{apply, set, wait};
use rookery_store::Engine;

#[test]
fn a_doorbell_rings_when_its_connection_was_lost_and_goes_on_with_the_next() {
    let mut hosted = Hosted::start();
    let (client, other) = (hosted.client(), hosted.client());
    let mut doorbell = client.doorbell(b"epoch");
    // Watching is on its way before the view is asked for, and served in order.
    super::support::view(&client).unwrap();
    apply(&other, vec![set("epoch", "1")]);
    assert!(wait(doorbell.rung()));
    hosted.stop();
    hosted.restart();
    assert!(wait(doorbell.rung()), "nobody saw what happened meanwhile");
    until("it reconnects", || client.trouble().is_none() && other.trouble().is_none());
    super::support::view(&client).unwrap();
    apply(&other, vec![set("epoch", "2")]);
    assert!(wait(doorbell.rung()));
}

#[test]
fn a_doorbell_ends_with_its_client() {
    let hosted = Hosted::start();
    let client = hosted.client();
    let mut doorbell = client.doorbell(b"epoch");
    client.close();
    assert!(!wait(doorbell.rung()));
    assert!(!wait(client.doorbell(b"epoch").rung()), "a closed one has none");
}
