//! The way to a cluster: which file names it, the first contact, and whose rows lie there.

use super::client::Client;
use super::codes::Code;
use super::library::Library;
use super::marks;
use super::space::{Found, MAX_NAME_BYTES, Space};
use crate::keys::prefix_end;
use foundationdb::options::{ConflictRangeType, StreamingMode};
use foundationdb::{FdbError, RangeOption};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where FoundationDB's packages put it.
const DEFAULT_CLUSTER_FILE: &str = "/etc/foundationdb/fdb.cluster";
/// Attempts to write the format row: other nodes may start at the same moment.
const MAX_ATTEMPTS: u32 = 5;
/// Most marks of dead processes looked at in one start.
const MAX_MARKS: usize = 10_000;

/// Why a cluster can't be used as a store. The text names the remedy.
#[derive(Debug)]
pub enum OpenError {
    /// There is no cluster file, or it can't be read.
    NoClusterFile {
        /// Where it was looked for.
        path: PathBuf,
        /// Why it can't be read.
        source: std::io::Error,
    },
    /// What the file holds names no cluster.
    BadClusterFile {
        /// The file.
        path: PathBuf,
    },
    /// The prefix is empty, too long, or holds other characters than it may.
    BadPrefix(String),
    /// The installed client library is older than the API this engine needs.
    OldLibrary {
        /// The newest API version it has.
        supports: i32,
        /// The one needed.
        needs: i32,
    },
    /// The client library can't be started; the error's code.
    Library(i32),
    /// The network thread of this process was stopped; it can't be started twice.
    NetworkStopped,
    /// The cluster did not answer in time.
    Unreachable {
        /// The file that names it.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The cluster refused; the error's code.
    Refused(i32),
    /// Keys under the prefix belong to something else.
    Foreign {
        /// The prefix.
        prefix: String,
    },
    /// The rows under the prefix have a layout of another version of the software.
    OtherVersion {
        /// The prefix.
        prefix: String,
        /// The layout's version.
        version: u8,
    },
    /// A thread can't be started.
    Thread(std::io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoClusterFile { path, source } => write!(
                f,
                "can't read the cluster file {} ({source}); copy it from a machine of the \
                 FoundationDB cluster, and name it with store.cluster_file or FDB_CLUSTER_FILE",
                path.display()
            ),
            Self::BadClusterFile { path } => write!(
                f,
                "{} is no cluster file; it must hold one line like \
                 description:id@10.0.0.1:4500,10.0.0.2:4500, so copy it from a machine of the cluster",
                path.display()
            ),
            Self::BadPrefix(prefix) => write!(
                f,
                "the prefix {prefix:?} can't be used; choose 1 to {MAX_NAME_BYTES} characters of \
                 a-z A-Z 0-9 . _ - / as store.prefix"
            ),
            Self::OldLibrary { supports, needs } => write!(
                f,
                "the FoundationDB client library (libfdb_c) is too old: it has API version \
                 {supports}, {needs} is needed; install foundationdb-clients 7.3"
            ),
            Self::Library(code) => write!(
                f,
                "the FoundationDB client library can't be started ({}); check that \
                 foundationdb-clients 7.3 is installed whole",
                Code(*code)
            ),
            Self::NetworkStopped => f.write_str(
                "FoundationDB's network thread was stopped and can't run twice in a process; \
                 start the process again",
            ),
            Self::Unreachable { path, waited } => write!(
                f,
                "the FoundationDB cluster of {} did not answer within {} s; check that its \
                 coordinators can be reached from here, that the file is the cluster's current one, \
                 and with `fdbcli --exec status` that the database is available and of version 7.3",
                path.display(),
                waited.as_secs()
            ),
            Self::Refused(code) => {
                write!(
                    f,
                    "FoundationDB refused to open the store: {}",
                    super::codes::read_failed(Code(*code))
                )
            }
            Self::Foreign { prefix } => write!(
                f,
                "the keys under {prefix:?} in this database belong to something else; choose \
                 another store.prefix"
            ),
            Self::OtherVersion { prefix, version } => write!(
                f,
                "the store under {prefix:?} was written by another version of this software \
                 (layout {version}); use that version, or choose another store.prefix"
            ),
            Self::Thread(source) => write!(f, "can't start a thread ({source})"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoClusterFile { source, .. } | Self::Thread(source) => Some(source),
            _ => None,
        }
    }
}

/// The cluster file: what the configuration says, else `FDB_CLUSTER_FILE`, else where the packages
/// put it. It is looked at, because the library would wait for ever for a cluster that isn't named.
pub(super) fn cluster_file(configured: Option<&Path>) -> Result<PathBuf, OpenError> {
    let path = match configured {
        Some(path) => path.to_owned(),
        None => std::env::var_os("FDB_CLUSTER_FILE")
            .filter(|path| !path.is_empty())
            .map_or_else(|| PathBuf::from(DEFAULT_CLUSTER_FILE), PathBuf::from),
    };
    match std::fs::read_to_string(&path) {
        Ok(text) if names_a_cluster(&text) => Ok(path),
        Ok(_) => Err(OpenError::BadClusterFile { path }),
        Err(source) => Err(OpenError::NoClusterFile { path, source }),
    }
}

/// Whether a cluster file has its form: `description:id@host:port,...`, and comments.
fn names_a_cluster(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    let Some(line) = lines.find(|line| !line.is_empty() && !line.starts_with('#')) else {
        return false;
    };
    let Some((name, coordinators)) = line.split_once('@') else { return false };
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    let address = |text: &str| {
        let address = text.trim().trim_end_matches(":tls");
        address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    name.split_once(':').is_some_and(|(description, id)| word(description) && word(id))
        && coordinators.split(',').all(address)
}

/// Makes the first contact: the cluster's version.
pub(super) async fn reach(
    library: &Library,
    path: &Path,
    patience: Duration,
) -> Result<u64, OpenError> {
    let deadline = Instant::now() + patience;
    loop {
        match library.read_version().await {
            Err(Code::TIMED_OUT) if Instant::now() < deadline => {}
            answer => return answer.map_err(|code| failed(code, path, patience)),
        }
    }
}

/// What an error of the first steps says.
pub(super) fn failed(code: Code, path: &Path, waited: Duration) -> OpenError {
    match code {
        Code::TIMED_OUT => OpenError::Unreachable { path: path.to_owned(), waited },
        Code::CONNECTION_STRING_INVALID => OpenError::BadClusterFile { path: path.to_owned() },
        code => OpenError::Refused(code.0),
    }
}

/// Makes sure that the space is this software's, and of this version; an empty one becomes so.
pub(super) async fn adopt(
    library: &Library,
    space: &Space,
    prefix: &str,
) -> Result<Result<(), OpenError>, Code> {
    let mut attempts = 1;
    loop {
        match try_adopt(library, space).await {
            Ok(Found::Ours | Found::Empty) => return Ok(Ok(())),
            Ok(Found::Foreign) => {
                return Ok(Err(OpenError::Foreign { prefix: prefix.to_owned() }));
            }
            Ok(Found::OtherVersion(version)) => {
                let prefix = prefix.to_owned();
                return Ok(Err(OpenError::OtherVersion { prefix, version }));
            }
            // Another node wrote it, or whether this one did is unknown: look again.
            Err(code) if attempts == MAX_ATTEMPTS || code == Code::TIMED_OUT => return Err(code),
            Err(_) => attempts += 1,
        }
    }
}

async fn try_adopt(library: &Library, space: &Space) -> Result<Found, Code> {
    let transaction = library.transaction()?;
    let format = transaction.get(&space.format(), false).await?;
    let (from, to) = space.whole();
    let range = RangeOption {
        limit: Some(1),
        mode: StreamingMode::WantAll,
        ..RangeOption::from((from.clone(), to.clone()))
    };
    let rows = transaction.get_range(&range, 1, true).await?;
    let first = rows.first().map(|row| row.key().to_vec());
    let found = Space::judge(format.as_deref(), first.as_deref());
    drop((format, rows));
    if found == Found::Empty {
        // Nobody else may write anything here meanwhile.
        transaction.add_conflict_range(&from, &to, ConflictRangeType::Read)?;
        transaction.set(&space.format(), &Space::format_value());
        transaction.commit().await.map_err(|error| Code(error.code()))?;
    }
    Ok(found)
}

/// Removes the marks of processes that ended without doing so.
pub(super) async fn remove_stale_marks(
    library: &Library,
    space: &Space,
    now: u64,
) -> Result<usize, FdbError> {
    let transaction = library.transaction()?;
    let from = space.marks();
    let to = prefix_end(&from).to_vec();
    let mut next = Some(RangeOption {
        limit: Some(MAX_MARKS),
        mode: StreamingMode::WantAll,
        ..RangeOption::from((from, to))
    });
    let (mut stale, mut iteration) = (0, 1);
    while let Some(page) = next {
        let rows = transaction.get_range(&page, iteration, true).await?;
        for row in rows.iter().filter(|row| marks::is_stale(row.value(), now)) {
            transaction.clear(row.key());
            stale += 1;
        }
        next = page.next_range(&rows);
        iteration += 1;
    }
    if stale > 0 {
        transaction.commit().await.map_err(|error| FdbError::from_code(error.code()))?;
    }
    Ok(stale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_files_form_is_known() {
        for good in [
            "docker:docker@127.0.0.1:4500",
            "# comment\n\n a_b:c1@10.0.0.1:4500,10.0.0.2:4500:tls \n",
            "d:i@[::1]:4500",
            "d:i@host.example:4500",
        ] {
            assert!(names_a_cluster(good), "{good:?}");
        }
        for bad in ["", "# only", "d:i@", "d@1.2.3.4:4500", "d:i@1.2.3.4", "d:i@1.2.3.4:0", "hello"]
        {
            assert!(!names_a_cluster(bad), "{bad:?}");
        }
    }

    #[test]
    fn every_error_names_its_remedy() {
        let missing = cluster_file(Some(Path::new("/nowhere/fdb.cluster"))).unwrap_err();
        assert!(missing.to_string().contains("FDB_CLUSTER_FILE"), "{missing}");
        let old = OpenError::OldLibrary { supports: 710, needs: 730 };
        assert!(old.to_string().contains("install foundationdb-clients 7.3"), "{old}");
        let far = failed(Code::TIMED_OUT, Path::new("f"), Duration::from_secs(5));
        assert!(far.to_string().contains("coordinators"), "{far}");
        let foreign = OpenError::Foreign { prefix: "p".into() };
        assert!(foreign.to_string().contains("another store.prefix"), "{foreign}");
    }
}
