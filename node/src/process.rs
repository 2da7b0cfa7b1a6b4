//! What the operating system grants and tells this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt::Write;
use std::fs;

/// Raises the limit of open files as far as it goes: each connection is one, and the usual soft
/// limit is 1,024. Warns when `connections` will not fit all the same.
pub fn raise_file_limit(connections: usize) {
    /// For the store's files, the listeners and the log.
    const OWN_FILES: u64 = 512;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files could not be raised");
            limit.current
        }
    };
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OWN_FILES);
    if now.is_some_and(|files| files < wanted) {
        tracing::warn!(
            open_files = now,
            wanted,
            "the limit of open files is below limits.max_connections; raise it (LimitNOFILE)"
        );
    }
}

/// Gives memory that is free, but lies between what is in use, back to the system. Takes milliseconds
/// and, for a while, the allocator's locks. Other allocators than glibc's do so by themselves.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "`malloc_trim` has no safe binding among our crates")]
pub(crate) fn give_memory_back() {
    unsafe extern "C" {
        fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    // SAFETY: it takes no pointer, keeps none, and is MT-Safe: malloc_trim(3).
    let _released = unsafe { malloc_trim(0) };
}

/// See the one for glibc.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_memory_back() {}

/// The process's own figures in Prometheus text, under the names every exporter uses. What can't
/// be read is left out.
pub(crate) fn metrics_text() -> String {
    let mut text = String::new();
    let mut line = |name: &str, kind: &str, value: Option<f64>| {
        if let Some(value) = value {
            // Writing into a String can't fail.
            let _infallible = writeln!(text, "# TYPE {name} {kind}\n{name} {value}");
        }
    };
    line("process_resident_memory_bytes", "gauge", resident_bytes());
    line("process_cpu_seconds_total", "counter", cpu_seconds());
    line("process_open_fds", "gauge", open_files());
    text
}

/// Memory of this process that is in RAM.
pub(crate) fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11).map(str::parse::<f64>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    let ticks: u32 = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some((user + system) / f64::from(ticks))
}

fn open_files() -> Option<f64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    u32::try_from(count).ok().map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_knows_its_figures() {
        if !std::path::Path::new("/proc/self/stat").exists() {
            println!("SKIPPED: there is no /proc here");
            return;
        }
        assert!(resident_bytes().unwrap() > 100_000.0);
        assert!(cpu_seconds().unwrap() >= 0.0);
        assert!(open_files().unwrap() >= 3.0);
        let text = metrics_text();
        assert!(text.contains("# TYPE process_cpu_seconds_total counter\n"), "{text}");
    }
}
