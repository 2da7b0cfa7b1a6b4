//! Faults planted into the harness's own receive path, to see that the oracle finds them.

use crate::history::Witness;
use crate::oracle::{Event, Value};
use clap::ValueEnum;

/// Which fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Plant {
    /// One delivery does not reach its device.
    Lose,
    /// One delivery reaches its device twice.
    Duplicate,
    /// Two deliveries reach their device in the wrong order.
    Reorder,
}

/// The way from the client library to the oracle; the first delivery of the run takes the fault.
#[derive(Debug)]
pub(crate) struct Planted {
    fault: Option<Plant>,
    held: Option<(u32, Value, u64)>,
}

impl Planted {
    pub(crate) fn new(fault: Option<Plant>) -> Self {
        Self { fault, held: None }
    }

    pub(crate) fn deliver(&mut self, oracle: &mut Witness, reader: u32, value: Value, seq: u64) {
        let event = Event::Delivered { reader, value, seq };
        match self.fault.take() {
            None => _ = oracle.hear(&event),
            Some(Plant::Lose) => return,
            Some(Plant::Duplicate) => {
                oracle.hear(&event);
                oracle.hear(&event);
            }
            Some(Plant::Reorder) => {
                self.held = Some((reader, value, seq));
                return;
            }
        }
        if let Some((reader, value, seq)) = self.held.take_if(|held| held.0 == reader) {
            oracle.hear(&Event::Delivered { reader, value, seq });
        }
    }
}
