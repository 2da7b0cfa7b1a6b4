//! Where chaos happens: the cluster, its network and its disk, and how each fault is done and
//! mended there.

use super::schedule::{Fault, Step};
use crate::cluster::{Cluster, Setup};
use crate::netns::{self, Network};
use crate::process;
use crate::run::RunError;
use rustix::process::Signal;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Size of the store's disk where it is to be filled: several times what a run writes, beside what
/// the store keeps free.
const DISK_BYTES: u64 = 384 << 20;
/// Bytes written at a time to fill it.
const PIECE: usize = 1 << 16;
/// In a network of its own the load does not come from this machine, and all of it signs up from one
/// address.
const ATTEMPTS: (&str, &str) = ("ROOKERY_LIMITS_ATTEMPTS_BURST", "100000");
/// Longest wait for strace to hold the store's threads.
const ATTACH: Duration = Duration::from_secs(20);
/// Between two looks at another process.
const LOOK: Duration = Duration::from_millis(10);

/// Why a fault can't be done here; `None` when it can.
pub(super) fn unavailable(fault: Fault) -> Option<String> {
    match fault {
        Fault::Partition | Fault::OneWay => netns::unavailable(),
        Fault::DiskFull => SmallDisk::mount().err(),
        Fault::SyncError => may_trace().err(),
        _ => None,
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ground {
    // Goes before what it stands on.
    pub(super) cluster: Cluster,
    network: Option<Network>,
    disk: Option<SmallDisk>,
    tampering: Option<Tampering>,
}

impl Ground {
    /// A cluster on which all of these faults can be done.
    pub(super) fn start(nodes: usize, faults: &[Fault]) -> Result<Self, RunError> {
        let fault = |what: &str, e: &dyn std::fmt::Display| RunError::new(format!("{what}: {e}"));
        let (attempts, many) = ATTEMPTS;
        let mut setup = Setup::new(process::binary()?, nodes).with(attempts, many);
        let has = |wanted: &[Fault]| faults.iter().any(|fault| wanted.contains(fault));
        let disk = has(&[Fault::DiskFull]).then(SmallDisk::mount).transpose();
        let disk = disk.map_err(|e| fault("a small disk", &e))?;
        if let Some(disk) = &disk {
            setup = setup.store_on(disk.path().join("store"));
        }
        let mut network = None;
        if has(&[Fault::Partition, Fault::OneWay]) {
            let made = Network::create(nodes).map_err(|e| fault("network", &e))?;
            setup = setup.places((0..nodes).map(|n| made.place(n)).collect()).gated();
            network = Some(made);
        }
        let cluster = setup.start()?;
        Ok(Self { cluster, network, disk, tampering: None })
    }

    /// Does the fault. What is done by the clients is done elsewhere.
    pub(super) fn inject(&mut self, step: Step) -> Result<(), RunError> {
        let node = step.node.unwrap_or(0);
        match step.fault {
            Fault::Kill => self.cluster.node(node)?.kill()?,
            Fault::Pause => self.cluster.node(node)?.signal(Signal::STOP),
            Fault::Partition => {
                self.network()?.isolate(node).map_err(|e| RunError::new(e.to_string()))?;
                self.cluster.gate(node)?.close();
            }
            Fault::OneWay => {
                let others = (0..self.cluster.count()).filter(|other| *other != node);
                for other in others.collect::<Vec<_>>() {
                    let cut = self.network()?.cut_one_way(other, node);
                    cut.map_err(|e| RunError::new(e.to_string()))?;
                }
            }
            Fault::StoreDown => self.cluster.store()?.kill()?,
            Fault::StoreSlow => self.cluster.store()?.signal(Signal::STOP),
            Fault::DiskFull => {
                if let Some(disk) = &self.disk {
                    disk.fill();
                }
            }
            Fault::SyncError => self.tampering = Some(fail_syncs(self.cluster.store()?.pid())?),
            Fault::Drain => {
                self.cluster.drain(node)?;
                if !self.cluster.node(node)?.wait()? {
                    let log = self.cluster.log(node);
                    return Err(RunError::new(format!("a drained node ended badly:\n{log}")));
                }
            }
            Fault::SlowReader | Fault::ReconnectStorm => {}
        }
        Ok(())
    }

    /// Mends it.
    pub(super) fn heal(&mut self, step: Step) -> Result<(), RunError> {
        let node = step.node.unwrap_or(0);
        match step.fault {
            Fault::Kill | Fault::Drain => self.cluster.start_node(node)?,
            Fault::Pause => self.cluster.node(node)?.signal(Signal::CONT),
            Fault::Partition | Fault::OneWay => {
                self.network()?.heal().map_err(|e| RunError::new(e.to_string()))?;
                self.cluster.gate(node)?.open();
            }
            Fault::StoreDown => self.cluster.start_store()?,
            Fault::StoreSlow => self.cluster.store()?.signal(Signal::CONT),
            Fault::DiskFull => {
                if let Some(disk) = &self.disk {
                    disk.clear();
                }
            }
            Fault::SyncError => {
                self.tampering = None;
                self.cluster.store()?.kill()?;
                self.cluster.start_store()?;
            }
            Fault::SlowReader | Fault::ReconnectStorm => {}
        }
        Ok(())
    }

    /// Ends the cluster in order.
    pub(super) fn end(self) -> Result<(), RunError> {
        self.cluster.end()
    }

    fn network(&mut self) -> Result<&mut Network, RunError> {
        self.network.as_mut().ok_or_else(|| RunError::new("there is no network to cut"))
    }
}

/// strace, which lets the syncs of a process fail until this is dropped.
#[derive(Debug)]
struct Tampering(Child);

impl Drop for Tampering {
    fn drop(&mut self) {
        // It may have ended with the process that it held.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Lets every sync of a process fail from now on.
fn fail_syncs(pid: u32) -> Result<Tampering, RunError> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync"]);
    strace.args(["-e", "inject=fsync,fdatasync:error=EIO", "-p", &pid.to_string()]);
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = strace.spawn().map_err(|e| RunError::new(format!("strace: {e}")))?;
    let mut tampering = Tampering(child);
    let start = Instant::now();
    while start.elapsed() < ATTACH {
        if let Ok(Some(status)) = tampering.0.try_wait() {
            return Err(RunError::new(format!("strace may not trace here ({status})")));
        }
        if traced(pid) {
            return Ok(tampering);
        }
        std::thread::sleep(LOOK);
    }
    Err(RunError::new("strace does not come to hold the store"))
}

/// Whether strace is here and may hold a process that it did not start.
fn may_trace() -> Result<(), String> {
    let mut other = Command::new("sleep");
    let other = other.arg("60").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    let mut other = other.map_err(|e| format!("sleep: {e}"))?;
    let traced = fail_syncs(other.id()).map(drop).map_err(|e| e.to_string());
    // It may have been killed together with strace.
    other.kill().ok();
    other.wait().ok();
    traced
}

/// Whether every thread of a process is traced.
fn traced(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.filter_map(Result::ok).all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_none_or(|tracer| tracer.trim() != "0")
    })
}

/// A small file system in memory, gone when it is dropped.
#[derive(Debug)]
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    fn mount() -> Result<Self, String> {
        let directory = TempDir::new().map_err(|e| e.to_string())?;
        let mut mount = Command::new("mount");
        let size = format!("size={DISK_BYTES}");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path());
        let status = mount.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !status.is_ok_and(|status| status.success()) {
            return Err("mounting a tmpfs needs root".to_owned());
        }
        Ok(Self { directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Writes until nothing more fits.
    fn fill(&self) {
        let Ok(mut file) = File::create(self.ballast()) else { return };
        let mut piece = vec![7; PIECE];
        while !piece.is_empty() {
            while file.write_all(&piece).is_ok() {}
            piece.truncate(piece.len() / 2);
        }
    }

    fn clear(&self) {
        // What could not be created need not be removed.
        std::fs::remove_file(self.ballast()).ok();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process of a failed run may still hold a file.
        Command::new("umount").arg("-l").arg(self.path()).status().ok();
    }
}
