//! What the kernel says of processes: resident memory and processor time. Linux only; elsewhere,
//! or when one is gone, the answer is "not known".

use std::fs;

/// Resident memory of these processes together, bytes; not known without any.
pub(crate) fn rss_bytes(pids: &[u32]) -> Option<u64> {
    if pids.is_empty() { None } else { pids.iter().map(|pid| rss_of(*pid)).sum() }
}

/// Processor time of these processes so far, all threads, seconds; not known without any.
pub(crate) fn cpu_s(pids: &[u32]) -> Option<f64> {
    if pids.is_empty() { None } else { pids.iter().map(|pid| cpu_of(*pid)).sum() }
}

fn rss_of(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

fn cpu_of(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything; user and system time are the 12th
    // and 13th field after it.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let user: f64 = fields.get(11)?.parse().ok()?;
    let system: f64 = fields.get(12)?.parse().ok()?;
    let ticks = rustix::param::clock_ticks_per_second();
    Some((user + system) / ticks as f64)
}

/// Lets this process (and those it starts) have as many open files as it may; returns how many.
pub(crate) fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // A refusal leaves the limit as it is: it is read again below.
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).ok();
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_has_used_time() {
        if !cfg!(target_os = "linux") {
            println!("SKIPPED: /proc is read on Linux only");
            return;
        }
        assert!(rss_bytes(&[std::process::id()]).unwrap() > 100_000);
        assert!(cpu_s(&[std::process::id()]).is_some());
        assert_eq!(rss_bytes(&[u32::MAX]), None);
    }
}
