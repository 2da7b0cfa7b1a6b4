//! A network of hosts on this machine, whose cables can be cut: each host is a network namespace
//! with one address, tied to a bridge that has a namespace of its own.
//!
//! ```text
//! this process ---.
//!                 [switch: bridge]--- host 0   its rules: drop what comes from ...
//!                      `------------- host 1
//! ```
//!
//! A cut is a rule (nft) in the receiving host that drops every packet of the sender: nobody is
//! told, as with a real cable. One direction alone can be cut. This process reaches every host
//! always. Files and Unix sockets are shared: whoever must be cut off from a store behind such a
//! socket needs a gate ([`crate::gate`]).
//!
//! Nothing stays behind: all is removed when [`Network`] is dropped, in a panic too, and what a
//! killed process left is swept by the next one.

use crate::cluster::Place;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Most hosts of a network.
pub const MAX_HOSTS: usize = 200;
/// What names of namespaces begin with; the process and a number follow.
const PREFIX: &str = "rookery-net-";
/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";
/// The last byte of host 0's address; this process has 1.
const FIRST_HOST: usize = 10;
/// Networks out of 198.18.0.0/15, which is set aside for tests like these.
const SUBNETS: u32 = 512;

/// See the module.
#[derive(Debug)]
pub struct Network {
    /// What the names of its namespaces begin with.
    name: String,
    /// This process's end of the cable to the switch: at most 15 bytes, the kernel's limit.
    uplink: String,
    subnet: [u8; 3],
    /// For each host, whose packets it drops.
    deaf_to: Vec<BTreeSet<usize>>,
}

/// Why no network can be made here; `None` when one can. Makes one to be sure: containers differ
/// in what they allow.
#[must_use]
pub fn unavailable() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    for (tool, argument) in [("ip", "-Version"), ("nft", "--version")] {
        let mut command = Command::new(tool);
        let started = command.arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if started.is_err() {
            return Some(format!("`{tool}` is not installed"));
        }
    }
    let tried = Network::create(2).and_then(|mut network| network.cut(0, 1));
    tried.err().map(|error| format!("network namespaces can't be made: {error}"))
}

impl Network {
    /// Makes a network of this many hosts that all reach each other.
    ///
    /// # Errors
    /// When there are too many of them, or a tool or the kernel refuses: see [`unavailable`].
    pub fn create(hosts: usize) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if hosts > MAX_HOSTS {
            return Err(io::Error::other(format!("more than {MAX_HOSTS} hosts")));
        }
        sweep();
        let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let network = Self {
            name: format!("{PREFIX}{pid}-{count}"),
            uplink: format!("rk{pid:x}.{count:x}"),
            subnet: free_subnet(pid.wrapping_mul(31).wrapping_add(count))?,
            deaf_to: vec![BTreeSet::new(); hosts],
        };
        // Dropped, hence removed, if this fails halfway.
        network.build()?;
        Ok(network)
    }

    /// The address of this process in the network.
    #[must_use]
    pub fn own_address(&self) -> Ipv4Addr {
        self.in_subnet(1)
    }

    /// The address of a host.
    #[must_use]
    pub fn address(&self, host: usize) -> Ipv4Addr {
        self.in_subnet(u8::try_from(FIRST_HOST + host).unwrap_or(u8::MAX))
    }

    /// A host as the place of a node.
    #[must_use]
    pub fn place(&self, host: usize) -> Place {
        let through = ["ip", "netns", "exec", &self.host(host)].map(str::to_owned).to_vec();
        Place { address: self.address(host).into(), through }
    }

    /// A command that runs a program on a host. The process that is started becomes the program, so
    /// its id is good for signals.
    #[must_use]
    pub fn command(&self, host: usize, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host(host)]).arg(program);
        command
    }

    /// Nothing of `from` reaches `to` any more. The other direction stays as it was.
    ///
    /// # Errors
    /// When the rule can't be set.
    pub fn cut_one_way(&mut self, from: usize, to: usize) -> io::Result<()> {
        if let Some(deaf_to) = self.deaf_to.get_mut(to) {
            deaf_to.insert(from);
        }
        self.apply(to)
    }

    /// Neither of two hosts reaches the other any more.
    ///
    /// # Errors
    /// When a rule can't be set.
    pub fn cut(&mut self, one: usize, other: usize) -> io::Result<()> {
        self.cut_one_way(one, other)?;
        self.cut_one_way(other, one)
    }

    /// A host and all others no longer reach each other.
    ///
    /// # Errors
    /// When a rule can't be set.
    pub fn isolate(&mut self, host: usize) -> io::Result<()> {
        (0..self.deaf_to.len()).filter(|other| *other != host).try_for_each(|o| self.cut(host, o))
    }

    /// All reach each other again.
    ///
    /// # Errors
    /// When a rule can't be removed.
    pub fn heal(&mut self) -> io::Result<()> {
        for host in 0..self.deaf_to.len() {
            if self.deaf_to.get_mut(host).is_some_and(|deaf| !std::mem::take(deaf).is_empty()) {
                self.apply(host)?;
            }
        }
        Ok(())
    }

    fn build(&self) -> io::Result<()> {
        let (switch, uplink) = (self.switch(), &self.uplink);
        ip(&["netns", "add", &switch])?;
        ip(&["-n", &switch, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", &switch, "link", "set", "bridge", "up"])?;
        ip(&["link", "add", uplink, "type", "veth", "peer", "name", "uplink", "netns", &switch])?;
        ip(&["-n", &switch, "link", "set", "uplink", "master", "bridge", "up"])?;
        ip(&["address", "add", &format!("{}/24", self.own_address()), "dev", uplink])?;
        ip(&["link", "set", uplink, "up"])?;
        for at in 0..self.deaf_to.len() {
            let (host, port) = (self.host(at), format!("host{at}"));
            let address = format!("{}/24", self.address(at));
            ip(&["netns", "add", &host])?;
            ip(&["-n", &host, "link", "set", "lo", "up"])?;
            ip(&["link", "add", "cable", "netns", &host, "type", "veth"]
                .into_iter()
                .chain(["peer", "name", &port, "netns", &switch])
                .collect::<Vec<_>>())?;
            ip(&["-n", &switch, "link", "set", &port, "master", "bridge", "up"])?;
            ip(&["-n", &host, "address", "add", &address, "dev", "cable"])?;
            ip(&["-n", &host, "link", "set", "cable", "up"])?;
            self.apply(at)?;
        }
        Ok(())
    }

    /// Sets the rules of a host, all at one moment.
    fn apply(&self, host: usize) -> io::Result<()> {
        let mut nft = self.command(host, "nft");
        nft.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = nft.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(self.rules(host).as_bytes())?;
        }
        finish(child.wait_with_output()?, "nft")
    }

    fn rules(&self, host: usize) -> String {
        // Adding what is there changes nothing; so this text is right whatever was before.
        let mut rules = "add table inet cut\n\
             add chain inet cut input { type filter hook input priority 0; policy accept; }\n\
             flush chain inet cut input\n"
            .to_owned();
        for from in self.deaf_to.get(host).into_iter().flatten() {
            // Writing to a string can't fail.
            writeln!(rules, "add rule inet cut input ip saddr {} drop", self.address(*from)).ok();
        }
        rules
    }

    fn in_subnet(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, last)
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.name)
    }

    fn host(&self, at: usize) -> String {
        format!("{}-host{at}", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What was not made yet can't be removed; nothing else can be done about it here.
        ip(&["link", "delete", &self.uplink]).ok();
        let hosts = (0..self.deaf_to.len()).map(|at| self.host(at));
        for namespace in hosts.chain([self.switch()]) {
            if Path::new(NAMES).join(&namespace).exists() {
                ip(&["netns", "delete", &namespace]).ok();
            }
        }
    }
}

/// Removes what processes left that were killed. The switch takes all cables with it.
fn sweep() {
    let Ok(names) = std::fs::read_dir(NAMES) else { return };
    for name in names.flatten() {
        let name = name.file_name();
        let Some(name) = name.to_str().filter(|name| is_left_over(name)) else { continue };
        ip(&["netns", "delete", name]).ok();
    }
}

/// Whether this is the namespace of a process that is gone.
fn is_left_over(name: &str) -> bool {
    let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
    owner
        .and_then(|pid| pid.parse::<u32>().ok())
        .is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
}

/// A subnet that no interface of this machine has, beginning the search at a number.
fn free_subnet(start: u32) -> io::Result<[u8; 3]> {
    let output = Command::new("ip").args(["-4", "-oneline", "address", "show"]).output()?;
    let taken = String::from_utf8_lossy(&output.stdout).into_owned();
    let subnets = (0..SUBNETS).map(|offset| {
        let [.., high, low] = (start.wrapping_add(offset) % SUBNETS).to_be_bytes();
        [198, 18 + high, low]
    });
    let mut free = subnets.filter(|[a, b, c]| !taken.contains(&format!(" {a}.{b}.{c}.")));
    free.next().ok_or_else(|| io::Error::other("no subnet of 198.18.0.0/15 is free"))
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output()?;
    finish(output, &format!("ip {}", arguments.join(" ")))
}

fn finish(output: std::process::Output, what: &str) -> io::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("`{what}`: {}", words.trim())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::print_stdout, reason = "a skipped test says why")]

    use super::*;

    fn network(hosts: usize) -> Option<Network> {
        if let Some(why) = unavailable() {
            println!("SKIPPED: {why}");
            return None;
        }
        Some(Network::create(hosts).unwrap())
    }

    fn rules_of(network: &Network, host: usize) -> String {
        let output = network.command(host, "nft").args(["list", "ruleset"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_cut_is_a_rule_at_the_receiver_alone_and_healing_removes_it() {
        let Some(mut network) = network(3) else { return };
        network.cut_one_way(0, 1).unwrap();
        let drops = format!("ip saddr {} drop", network.address(0));
        assert!(rules_of(&network, 1).contains(&drops));
        for other in [0, 2] {
            assert!(!rules_of(&network, other).contains("drop"));
        }
        network.isolate(2).unwrap();
        assert_eq!(rules_of(&network, 2).matches("drop").count(), 2);
        assert_eq!(rules_of(&network, 1).matches("drop").count(), 2);
        network.heal().unwrap();
        assert!((0..3).all(|host| !rules_of(&network, host).contains("drop")));
    }

    #[test]
    fn nothing_is_left_of_a_network_whose_owner_panicked() {
        let Some(network) = network(1) else { return };
        let names = [network.host(0), network.switch()];
        let uplink = Path::new("/sys/class/net").join(&network.uplink);
        assert!(uplink.exists());
        let owner = std::thread::spawn(move || {
            let _network = network;
            // Not a panic that a hook would print.
            std::panic::resume_unwind(Box::new("the owner fails"));
        });
        assert!(owner.join().is_err());
        assert!(!uplink.exists());
        assert!(names.iter().all(|name| !Path::new(NAMES).join(name).exists()));
    }

    #[test]
    fn only_namespaces_of_processes_that_are_gone_are_swept() {
        let own = std::process::id();
        assert!(!is_left_over(&format!("{PREFIX}{own}-0-host0")));
        // Above the largest id a process can have.
        assert!(is_left_over(&format!("{PREFIX}4194305-0-switch")));
        assert!(!is_left_over("somebody-elses"));
        assert!(!is_left_over(&format!("{PREFIX}x-0-switch")));
    }
}
