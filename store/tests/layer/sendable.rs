//! Every operation's future can move between the threads of a runtime.

use crate::support::{ANN, ANY, BOB, CONV, NOW, OWNER, account, id, rotation};
use rookery_protocol::{Cursor, DeviceId, Direction};
use rookery_store::memory::MemoryEngine;
use rookery_store::{DeviceRow, Plan, RefreshRow, Slot, Stamp, Store};

fn send<T: Send>(future: T) {
    drop(future);
}

#[test]
fn every_future_is_send_and_the_store_is_sync() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    let store: Store = Store::new(MemoryEngine::new().into());
    shared(&store);
    let (device, name) = (DeviceId(1), String::new());
    let row = DeviceRow { user: ANN, device, name, created_ms: NOW, revoked: false };
    let refresh = RefreshRow { user: ANN, device, expires_ms: NOW };
    send(store.commit(Plan::default()));
    send(store.inbox_epoch());
    send(store.renew_inbox_epoch());
    send(store.take_over(Slot(1), OWNER));
    send(store.find_sent(CONV, ANN, id(1), ANY));
    send(store.load_conversation(CONV, ANY));
    send(store.open_direct(ANN, BOB, CONV, NOW));
    send(store.describe(ANN, CONV));
    send(store.list_conversations(ANN, 1, None));
    send(store.shares_conversation(ANN, &[BOB]));
    send(store.history(ANN, CONV, 0, Direction::Before, 1));
    send(store.entries(CONV, 1, 2, 3));
    send(store.inbox(ANN, Some(Cursor::default()), 1, ANY));
    send(store.trim_inbox(ANN, Stamp::default()));
    send(store.create_account(&account(ANN, "ann")));
    send(store.account(ANN));
    send(store.account_by_name("ann"));
    send(store.names(&[ANN]));
    send(store.signing_key([0; 32]));
    send(store.create_device(&row));
    send(store.device(ANN, device));
    send(store.revoke_device(ANN, device, NOW));
    send(store.put_refresh([0; 32], &refresh));
    send(store.rotate_refresh(rotation(0, 1)));
    send(store.set_last_seen(ANN, NOW));
    send(store.last_seen(ANN));
}
