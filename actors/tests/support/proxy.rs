//! A network between two nodes that can be cut without a word, in a direction or both.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Which bytes are carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// What the dialer sends stays where it is.
    pub there: bool,
    /// What the other side sends stays where it is.
    pub back: bool,
}

/// Forwards connections to a node.
pub struct Proxy {
    pub address: SocketAddr,
    cut: watch::Sender<Cut>,
    /// How often all connections were broken.
    broken: watch::Sender<u64>,
}

impl Proxy {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, broken) = (watch::Sender::new(Cut::default()), watch::Sender::new(0));
        let (cuts, breaks) = (cut.clone(), broken.clone());
        tokio::spawn(async move {
            while let Ok((dialer, _)) = listener.accept().await {
                let Ok(other) = TcpStream::connect(target).await else { continue };
                let (cuts, breaks) = (cuts.subscribe(), breaks.subscribe());
                tokio::spawn(forward(dialer, other, cuts, breaks));
            }
        });
        Self { address, cut, broken }
    }

    pub fn cut(&self, cut: Cut) {
        self.cut.send_replace(cut);
    }

    pub fn heal(&self) {
        self.cut(Cut::default());
    }

    /// Closes the dialer's side of each connection; the other side stays open and silent.
    pub fn break_dialers(&self) {
        self.broken.send_modify(|broken| *broken += 1);
    }
}

async fn forward(
    dialer: TcpStream,
    other: TcpStream,
    cuts: watch::Receiver<Cut>,
    mut breaks: watch::Receiver<u64>,
) {
    let (mut dialer_read, mut dialer_write) = dialer.into_split();
    let (mut other_read, mut other_write) = other.into_split();
    breaks.borrow_and_update();
    let carried = async {
        tokio::select! {
            () = carry(&mut dialer_read, &mut other_write, cuts.clone(), |cut| cut.there) => {}
            () = carry(&mut other_read, &mut dialer_write, cuts, |cut| cut.back) => {}
        }
    };
    let broken = tokio::select! {
        () = carried => false,
        _ = breaks.changed() => true,
    };
    if broken {
        drop((dialer_read, dialer_write));
        // Held open until the test ends.
        std::future::pending::<()>().await;
    }
}

async fn carry(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut cuts: watch::Receiver<Cut>,
    is_cut: fn(&Cut) -> bool,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let Ok(read) = from.read(&mut bytes).await else { return };
        if cuts.wait_for(|cut| !is_cut(cut)).await.is_err() || read == 0 {
            return;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
